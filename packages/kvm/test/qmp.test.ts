import { once } from 'node:events'
import { createServer } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { connectQmp } from '../src/qmp/client.js'
import { bareQemu, missingQemu } from './bare-qemu.js'

const MACHINE = ['-machine', 'none', '-S']

describe.skipIf(missingQemu)(`QMP against real QEMU${missingQemu ? `: ${missingQemu}` : ''}`, () => {
  it('answers commands, and says why it refuses one', async () => {
    await using qemu = await bareQemu(...MACHINE)
    const qmp = await connectQmp(qemu.socketPath)
    expect(qmp.version.major).toBeGreaterThanOrEqual(7)
    expect(await qmp.execute('query-status')).toMatchObject({ status: 'prelaunch', running: false })
    await expect(qmp.execute('no-such-command')).rejects.toMatchObject({ code: 'UNSUPPORTED', driver: 'kvm' })
    await expect(qmp.execute('device_del', { id: 'é"\n' })).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(qmp.execute('blockdev-add', { driver: 'nosuch' })).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
    const taken = createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    const { port } = taken.address() as { port: number }
    const data = { host: '127.0.0.1', port: String(port) }
    await expect(qmp.execute('nbd-server-start', { addr: { type: 'inet', data } })).rejects.toMatchObject({ code: 'CONFLICT' })
    taken.close()
    await qmp.close()
    await expect(qmp.execute('query-status')).rejects.toMatchObject({ code: 'ABORTED' })
  })

  it('gives every reader every event, and ends them when this side closes', async () => {
    await using qemu = await bareQemu(...MACHINE)
    const qmp = await connectQmp(qemu.socketPath)
    const readers = [0, 1].map(async () => {
      const seen: string[] = []
      for await (const { event, at } of qmp.events()) {
        expect(Math.abs(Date.now() - at)).toBeLessThan(60_000)
        seen.push(event)
      }
      return seen
    })
    await qmp.execute('cont')
    await qmp.execute('stop')
    await qmp.close()
    expect(await Promise.all(readers)).toEqual([
      ['RESUME', 'STOP'],
      ['RESUME', 'STOP'],
    ])
  })

  it('serves clients one after the other, and says so to the one that waits too long', async () => {
    await using qemu = await bareQemu(...MACHINE)
    const first = await connectQmp(qemu.socketPath)
    await expect(connectQmp(qemu.socketPath, { connectTimeoutMs: 50 })).rejects.toMatchObject({ code: 'CONFLICT', retryable: true })
    const queued = Array.from({ length: 6 }, async () => {
      const qmp = await connectQmp(qemu.socketPath)
      const { running } = await qmp.execute<{ running: boolean }>('query-status')
      await qmp.close()
      return running
    })
    await first.close()
    expect(await Promise.all(queued)).toEqual(Array(6).fill(false))
  })

  it('stops waiting when its signal fires', async () => {
    await using qemu = await bareQemu(...MACHINE)
    const first = await connectQmp(qemu.socketPath)
    const controller = new AbortController()
    const second = connectQmp(qemu.socketPath, { signal: controller.signal })
    controller.abort()
    await expect(second).rejects.toMatchObject({ code: 'ABORTED' })
    const command = new AbortController()
    const answer = first.execute('query-status', {}, { signal: command.signal })
    command.abort()
    await expect(answer).rejects.toMatchObject({ code: 'ABORTED' })
    expect(await first.execute('query-status'), 'the late answer of the aborted command is not taken for this one').toHaveProperty('status')
    await first.close()
  })

  it('fails commands and readers when QEMU dies', async () => {
    await using qemu = await bareQemu(...MACHINE)
    const qmp = await connectQmp(qemu.socketPath)
    const reader = (async () => {
      for await (const _ of qmp.events());
    })()
    qemu.child.kill('SIGSTOP')
    const command = qmp.execute('query-status')
    const outcomes = Promise.allSettled([reader, command])
    await qemu.kill()
    for (const outcome of await outcomes) expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'BACKEND_UNAVAILABLE' } })
    await qmp.closed
    await expect(connectQmp(qemu.socketPath)).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' })
  })

  it('keeps no memory of 1,000 commands', async () => {
    await using qemu = await bareQemu(...MACHINE)
    const qmp = await connectQmp(qemu.socketPath)
    const { signal } = new AbortController()
    // What the heap holds depends on when V8 last collected.
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const thousand = async () => {
      for (let i = 0; i < 1000; i++) await qmp.execute('query-status', {}, { signal })
      collect()
      return process.memoryUsage()
    }
    await thousand()
    const before = await thousand()
    const after = await thousand()
    expect(after.heapUsed - before.heapUsed).toBeLessThan(8 * 2 ** 20)
    expect(after.external - before.external).toBeLessThan(2 ** 20)
    await qmp.close()
  })
})
