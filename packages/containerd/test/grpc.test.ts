/** The client: what it says of a daemon that is not there, goes, and comes back; and that its generated code is current. */
import { execFile } from 'node:child_process'
import { cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { createServer, connect as dial, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { connect, requireEngine, sockets, why } from './engine.js'

const ROOT = join(import.meta.dirname, '..')
const socketPath = sockets['1.6']
const folders: string[] = []
const folder = async () => {
  const made = await mkdtemp(join(tmpdir(), 'vmkit-grpc-'))
  folders.push(made)
  return made
}

afterEach(async () => {
  for (const each of folders.splice(0)) await rm(each, { recursive: true })
})

it('has generated code that is what the .proto files say', { timeout: 30_000 }, async () => {
  const copy = await folder()
  for (const name of ['proto', 'buf.yaml', 'buf.gen.yaml']) await cp(join(ROOT, name), join(copy, name), { recursive: true })
  const bin = join(ROOT, '../../node_modules/.bin')
  const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env
  const cache = { XDG_CACHE_HOME: copy, PATH: `${bin}${delimiter}${process.env.PATH}` }
  await promisify(execFile)(join(bin, 'buf'), ['generate'], { cwd: copy, env: { ...env, ...cache } })
  const generated = join(ROOT, 'src/grpc/generated')
  expect((await readdir(join(copy, 'src/grpc/generated'))).sort()).toEqual((await readdir(generated)).sort())
  for (const name of await readdir(generated)) {
    expect(await readFile(join(copy, 'src/grpc/generated', name), 'utf8'), name).toBe(await readFile(join(generated, name), 'utf8'))
  }
})

describe('a daemon that is not there', () => {
  it('is BACKEND_UNAVAILABLE at once', async () => {
    const link = connect(join(await folder(), 'none.sock'), 'test')
    const containerd = await link.get()
    // No timer runs out meanwhile: nothing is waited for.
    vi.useFakeTimers({ toFake: ['setTimeout', 'setInterval'] })
    try {
      await expect(containerd.version.version({})).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE', driver: 'containerd' })
    } finally {
      link.close()
      vi.useRealTimers()
    }
  })

  it('is not asked at all under an aborted signal', async () => {
    const link = connect(join(await folder(), 'none.sock'), 'test')
    const containerd = await link.get()
    const signal = AbortSignal.abort(new Error('enough'))
    await expect(containerd.version.version({}, { signal })).rejects.toMatchObject({ code: 'ABORTED', message: 'enough' })
    await expect(containerd.events.subscribe({}, { signal }).next()).rejects.toMatchObject({ code: 'ABORTED' })
    link.close()
  })
})

describe.skipIf(!requireEngine(socketPath))(`a daemon that goes and comes back${why(socketPath)}`, () => {
  it('ends streams with an error, and is reached by the next call', async () => {
    const path = join(await folder(), 'proxy.sock')
    const proxy = () => {
      const open = new Set<Socket>()
      const server = createServer((client) => {
        const daemon = dial(socketPath as string)
        for (const each of [client, daemon]) {
          open.add(each)
          each.on('error', () => undefined)
        }
        client.pipe(daemon).pipe(client)
      })
      return {
        listen: () => new Promise<void>((resolve) => server.listen(path, resolve)),
        end: async () => {
          for (const each of open) each.destroy()
          await new Promise((resolve) => server.close(resolve))
        },
      }
    }
    const first = proxy()
    await first.listen()
    const link = connect(path, 'test')
    const containerd = await link.get()
    expect((await containerd.version.version({})).version).toMatch(/^1\.6/)
    const next = containerd.events.subscribe({}).next()
    // It may fail before anybody looks.
    next.catch(() => undefined)
    // The answer of a later call on the same connection: the stream is open by then.
    await containerd.version.version({})
    await first.end()
    await expect(next).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' })
    await expect(containerd.version.version({})).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' })
    const second = proxy()
    await second.listen()
    expect((await containerd.version.version({})).version).toMatch(/^1\.6/)
    link.close()
    await second.end()
  })

  it('is named with its words and our code', async () => {
    const link = connect(socketPath as string, 'vmkit-none')
    const containerd = await link.get()
    await expect(containerd.containers.get({ id: 'none' })).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(containerd.containers.get({ id: '../x' }, { vmId: 'm' })).rejects.toMatchObject({ code: expect.any(String), vmId: 'm' })
    await expect(containerd.version.version({}, { timeoutMs: 0 })).rejects.toMatchObject({ code: 'TIMEOUT' })
    link.close()
  })
})
