/** A socket that this user may not open: no containerd is needed to be refused. */
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createManager } from '@vmkit/core'
import { expect, it } from 'vitest'
import { containerd } from '../src/driver.js'

const NOBODY = 65534
const isRoot = process.geteuid?.() === 0
const why = isRoot ? '' : ' (not run: to lay rights down for a call needs root)'

it.skipIf(!isRoot)(`is PERMISSION_DENIED for every call, with what to do about it${why}`, async () => {
  // Folders of mkdtemp are closed to all but their owner.
  const folder = mkdtempSync(join(tmpdir(), 'vmkit-refused-'))
  const server = createServer((client) => client.destroy())
  try {
    const socketPath = join(folder, 'containerd.sock')
    await new Promise<void>((resolve) => server.listen(socketPath, resolve))
    const managers = [0, 1].map(() =>
      createManager({ drivers: { containerd: containerd({ socketPath, stateDir: join(folder, 'state') }) } }),
    )
    const [first, second] = managers.map((manager) => manager.driver('containerd'))
    // Loads, with the rights of root, all the code that the next look needs. Nobody speaks gRPC here.
    expect(await first?.probe()).toMatchObject({ available: false })
    process.seteuid?.(NOBODY)
    try {
      const refusal = { code: 'PERMISSION_DENIED', hint: expect.stringContaining('may open the socket'), retryable: false }
      await expect(second?.create({ image: 'app' })).rejects.toMatchObject(refusal)
      await expect(second?.list()).rejects.toMatchObject(refusal)
      expect(await second?.probe()).toMatchObject({ available: false, code: 'PERMISSION_DENIED' })
    } finally {
      process.seteuid?.(0)
    }
    for (const manager of managers) await manager.close()
  } finally {
    await new Promise((resolve) => server.close(resolve))
    rmSync(folder, { recursive: true })
  }
})
