/** Against real engines: they load what is written here, and what they save is read here. */
import { existsSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { digestOf, layerTar, openArchive, writeArchive } from '../src/index.js'
import { backendEnv } from './registries.js'
import { collect, file, folder, makeImage, openMade, tarOf } from './support.js'

const engines = ['VMKIT_DOCKER_SOCKET', 'VMKIT_DOCKER_NEXT_SOCKET'].map((variable) => ({
  variable,
  socketPath: backendEnv(variable) ?? '',
}))

function call(socketPath: string, method: string, path: string, body?: AsyncIterable<Uint8Array>): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, method, path, headers: body ? { 'content-type': 'application/x-tar' } : {} }, resolve).on(
      'error',
      reject,
    )
    if (body) Readable.from(body).pipe(sent)
    else sent.end()
  })
}

describe.each(engines)('the engine of $variable', ({ socketPath }) => {
  const why = existsSync(socketPath) ? '' : ' (not run: no such engine; scripts/backends up starts it)'
  it.skipIf(why !== '')(`loads what is written here, and saves what can be read${why}`, async () => {
    const name = `vmkit-test/oci-${process.pid}:1`
    const tars = [await tarOf(folder('bin'), file('bin/a', 'x'.repeat(100_000))), await tarOf(file('bin/.wh.a'), file('b', 'y'))]
    const image = await openMade(makeImage(tars, 'gzip'))
    const answer = await call(socketPath, 'POST', '/images/load', writeArchive(image, { reference: name }))
    expect((await collect(answer)).toString()).toContain(`Loaded image: ${name}`)
    try {
      await using saved = await openArchive(await call(socketPath, 'GET', `/images/${name}/get`))
      expect(saved.reference).toBe(`docker.io/${name}`)
      expect(saved.config.rootfs.diff_ids).toEqual(image.config.rootfs.diff_ids)
      for (const [at, layer] of saved.manifest.layers.entries()) {
        expect(digestOf(await collect(layerTar(saved, layer)))).toBe(image.config.rootfs.diff_ids[at])
      }
    } finally {
      await collect(await call(socketPath, 'DELETE', `/images/${name}`))
    }
  })
})
