/** A socket that this user may not open: no engine is needed to be refused. */
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { idle, managerOf } from './support.js'

const NOBODY = 65534
const isRoot = process.geteuid?.() === 0
const why = isRoot ? '' : ' (not run: to lay rights down for a call needs root)'

/** As a user without rights, and back. */
async function asNobody<T>(work: () => Promise<T>): Promise<T> {
  process.seteuid?.(NOBODY)
  try {
    return await work()
  } finally {
    process.seteuid?.(0)
  }
}

describe.skipIf(!isRoot)(`an engine that does not let this user in${why}`, () => {
  // Folders of mkdtemp are closed to all but their owner.
  const folder = mkdtempSync(join(tmpdir(), 'vmkit-refused-'))
  const socketPath = join(folder, 'docker.sock')
  let server: Server
  beforeAll(async () => {
    server = createServer((client) => client.destroy())
    await new Promise<void>((resolve) => server.listen(socketPath, resolve))
    // Loads, with the rights of root, all the code that a look needs.
    await using manager = managerOf({ socketPath })
    expect(await manager.driver('docker').probe()).toMatchObject({ available: false })
  })
  afterAll(async () => {
    await new Promise((resolve) => server.close(resolve))
    rmSync(folder, { recursive: true })
  })
  afterEach(() => void vi.unstubAllEnvs())

  it('is PERMISSION_DENIED for every call, with what to do about it', async () => {
    await using manager = managerOf({ socketPath })
    const handle = manager.driver('docker')
    const refusal = { code: 'PERMISSION_DENIED', hint: expect.stringContaining('may open the socket'), retryable: false }
    const calls: (() => Promise<unknown>)[] = [() => handle.create(idle()), () => handle.list(), () => handle.images.list()]
    for (const call of calls) {
      await expect(asNobody(call)).rejects.toMatchObject({
        ...refusal,
        evidence: { tried: [{ result: expect.stringContaining('EACCES') }] },
      })
    }
    expect(await asNobody(() => handle.probe())).toMatchObject({ available: false, code: 'PERMISSION_DENIED' })
  })

  it('is told before the places where there is none', async () => {
    for (const name of ['DOCKER_HOST', 'DOCKER_CONTEXT']) vi.stubEnv(name, undefined)
    vi.stubEnv('DOCKER_CONFIG', folder)
    vi.stubEnv('HOME', folder)
    vi.stubEnv('XDG_RUNTIME_DIR', folder)
    await using manager = managerOf({})
    const probe = await asNobody(() => manager.driver('docker').probe())
    // `$XDG_RUNTIME_DIR/docker.sock` is the one of this test; a host may have engines of its own, closed to this user as well.
    expect(probe).toMatchObject({ available: false, code: 'PERMISSION_DENIED', hint: expect.stringContaining('may open the socket') })
    expect(probe.tried?.length).toBeGreaterThan(1)
  })
})
