/** The engine under test, spoken to behind vmkit's back, and the images that the tests run: nothing can be pulled. */

import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import type { Readable } from 'node:stream'
import tar from 'tar-stream'
import { backendEnv } from '../../../scripts/lib/backends.js'

export { backendEnv }

export const IMAGE = 'vmkit-test/busybox:1'

/** Socket of the engine; `undefined` where there is none: then the driver looks by itself and says what it tried. */
export function engineSocket(name = 'VMKIT_DOCKER_SOCKET', orDefault = true): string | undefined {
  return [backendEnv(name), ...(orDefault ? ['/var/run/docker.sock'] : [])].find((path) => path !== undefined && existsSync(path))
}

// Debian's busybox is built without it.
const PRINTENV = String.raw`#!/bin/sh
eval "[ \"\${$1+set}\" ] || exit 1; printf '%s\n' \"\$$1\""
`

export interface RawAnswer {
  status: number
  body: string
}

/** One call of the Engine API by node:http alone. */
export function raw(
  socketPath: string,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<RawAnswer> {
  const isTar = body !== undefined && typeof (body as Readable).pipe === 'function'
  return new Promise((resolve, reject) => {
    const call = request(
      { socketPath, method, path, headers: { 'content-type': isTar ? 'application/x-tar' : 'application/json', ...headers } },
      (answer) => {
        let text = ''
        answer.setEncoding('utf8').on('data', (part: string) => {
          text += part
        })
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body: text }))
        answer.on('error', reject)
      },
    )
    call.on('error', reject)
    if (isTar) (body as NodeJS.ReadableStream).pipe(call)
    else call.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

/** A root file system of Debian's static busybox, with a user beside root, as a tar. */
async function rootfs(): Promise<NodeJS.ReadableStream> {
  const path = ['/bin/busybox', '/usr/bin/busybox'].find((file) => existsSync(file))
  if (path === undefined) throw new Error('The test images need busybox-static; scripts/backends up installs it')
  const pack = tar.pack()
  for (const name of ['bin', 'etc', 'tmp', 'root', 'home', 'home/worker', 'proc', 'sys', 'dev', 'var', 'data', 'usr', 'usr/bin']) {
    pack.entry({ name, type: 'directory', mode: name === 'tmp' ? 0o1777 : 0o755 })
  }
  pack.entry({ name: 'bin/busybox', mode: 0o755 }, await readFile(path))
  const applets = execFileSync(path, ['--list'], { encoding: 'utf8' })
    .split('\n')
    .filter((name) => name !== '' && name !== 'busybox')
  for (const name of applets) pack.entry({ name: `bin/${name}`, type: 'symlink', linkname: 'busybox' })
  pack.entry({ name: 'etc/passwd' }, 'root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000::/home/worker:/bin/sh\n')
  pack.entry({ name: 'etc/group' }, 'root:x:0:\nworker:x:1000:\n')
  pack.entry({ name: 'bin/hello', mode: 0o755 }, '#!/bin/sh\necho hello\n')
  pack.entry({ name: 'bin/printenv', mode: 0o755 }, PRINTENV)
  pack.finalize()
  return pack as unknown as NodeJS.ReadableStream
}

/** Makes the test image when the engine does not have it. */
export async function ensureImage(socketPath: string, reference = IMAGE): Promise<void> {
  const present = await raw(socketPath, 'GET', `/images/${reference}/json`)
  if (present.status === 200) return
  const [repo, tag] = reference.split(/:(?=[^/]*$)/)
  const query = new URLSearchParams({ fromSrc: '-', repo: repo ?? '', tag: tag ?? 'latest', changes: 'ENV PATH=/bin:/usr/bin' })
  const answer = await raw(socketPath, 'POST', `/images/create?${query}`, await rootfs())
  if (answer.status !== 200 || answer.body.includes('"error"')) throw new Error(`Cannot import the test image: ${answer.body}`)
  // Podman's import knows no tag.
  await raw(socketPath, 'POST', `/images/${repo}:latest/tag?${new URLSearchParams({ repo: repo ?? '', tag: tag ?? 'latest' })}`)
}

/** Gives the image another name, pushes it to the registry of that name, and forgets it here. */
export async function pushImage(socketPath: string, reference: string, target: string): Promise<void> {
  const [repo, tag] = target.split(/:(?=[^/]*$)/)
  await raw(socketPath, 'POST', `/images/${reference}/tag?${new URLSearchParams({ repo: repo ?? '', tag: tag ?? '' })}`)
  const answer = await raw(socketPath, 'POST', `/images/${repo}/push?tag=${tag}`, undefined, { 'X-Registry-Auth': auth() })
  if (answer.status !== 200 || answer.body.includes('"error"')) throw new Error(`Cannot push the test image: ${answer.body}`)
  await raw(socketPath, 'DELETE', `/images/${target}`)
}

function auth(): string {
  const [username, password] = (backendEnv('VMKIT_PRIVATE_REGISTRY_AUTH') ?? ':').split(':')
  return Buffer.from(JSON.stringify({ username, password })).toString('base64').replaceAll('+', '-').replaceAll('/', '_')
}

/** An image of one layer that no other image has, so that a pull has something to do. */
export async function importUnique(socketPath: string, reference: string): Promise<void> {
  const [repo, tag] = reference.split(/:(?=[^/]*$)/)
  const pack = tar.pack()
  pack.entry({ name: 'random' }, randomBytes(2 ** 20))
  pack.finalize()
  await raw(socketPath, 'POST', `/images/create?${new URLSearchParams({ fromSrc: '-', repo: repo ?? '', tag: tag ?? '' })}`, pack)
}

/** What `docker save` gives. */
export async function* saveImage(socketPath: string, reference: string): AsyncGenerator<Uint8Array> {
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    request({ socketPath, path: `/images/${reference}/get` }, resolve)
      .on('error', reject)
      .end()
  })
  yield* answer
}
