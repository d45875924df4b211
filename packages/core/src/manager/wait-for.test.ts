import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { type FakeDriver, fakeDriver, settled } from '../../test/fake-driver.js'
import type { VMDriver } from '../driver.js'
import type { VMStatus } from '../machine.js'
import { createManager } from './manager.js'
import type { VM, WaitForOptions } from './vm-types.js'

async function machine(
  overrides: Partial<VMDriver> = {},
  without: ('logs' | 'logs.since')[] = [],
): Promise<{ vm: VM; driver: FakeDriver }> {
  const driver = fakeDriver({ overrides, without })
  const vm = (await createManager({ drivers: { fake: driver } }).create({}, { driver: 'fake' })) as unknown as VM
  return { vm, driver }
}
async function running(overrides: Partial<VMDriver> = {}): Promise<{ vm: VM; driver: FakeDriver }> {
  const made = await machine(overrides)
  await made.vm.start()
  return made
}

const servers: Server[] = []
async function listen(server: Server): Promise<number> {
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as { port: number }).port
}
afterEach(() => {
  vi.useRealTimers()
  for (const server of servers.splice(0)) server.close()
})

/** A machine that publishes its port 80 on `port` of this host. */
async function published(port: number): Promise<{ vm: VM; driver: FakeDriver }> {
  const driver = fakeDriver()
  const vm = (await createManager({ drivers: { fake: driver } }).create(
    { ports: [{ guest: 80, host: port }] },
    { driver: 'fake' },
  )) as unknown as VM
  await vm.start()
  return { vm, driver }
}

describe('waitFor', () => {
  it('port: resolves when something keeps a connection', async () => {
    const { vm } = await published(await listen(createServer()))
    await vm.waitFor({ port: 80 })
  })

  it('port: a forwarder that accepts and hangs up is not the guest', async () => {
    let guestIsUp = false
    let hungUp = 0
    const port = await listen(
      createServer((socket) => {
        if (guestIsUp) return
        hungUp += 1
        guestIsUp = hungUp === 3
        socket.destroy()
      }),
    )
    const { vm } = await published(port)
    await vm.waitFor({ port: 80, intervalMs: 1 })
    expect(hungUp).toBe(3)
  })

  it('port: one that has hung up while this process was held up is none either', async () => {
    let hungUp = 0
    const port = await listen(
      createServer((socket) => {
        hungUp += 1
        if (hungUp > 3) return
        socket.destroy()
        setImmediate(() => {
          const until = performance.now() + 60
          while (performance.now() < until);
        })
      }),
    )
    const { vm } = await published(port)
    await vm.waitFor({ port: 80, intervalMs: 1 })
    expect(hungUp).toBe(4)
  })

  it('port: waits for a machine that is not started yet, but not for a port that is not published', async () => {
    const { vm } = await machine()
    const waiting = vm.waitFor({ port: 80, intervalMs: 1 })
    const failed = expect(waiting).rejects.toMatchObject({ code: 'NOT_FOUND', message: expect.stringContaining('not published') })
    await settled()
    await vm.start()
    await failed
  })

  it('log: resolves on a line with the text, or one that matches', async () => {
    const { vm } = await running()
    await vm.waitFor({ log: 'tw' })
    await vm.waitFor({ log: /^two$/g })
  })

  it('exec: resolves when the command succeeds', async () => {
    const { vm } = await running()
    await vm.waitFor({ exec: ['exit', '0'] })
  })

  it('healthy: resolves when the check passes', async () => {
    let looks = 0
    const getStatus = async (): Promise<VMStatus> => ({ state: 'running', health: ++looks > 3 ? 'healthy' : 'starting' })
    const { vm } = await machine({ getStatus })
    await vm.waitFor({ healthy: true, intervalMs: 1 })
  })

  it('until: resolves when the function says so, and passes its error on', async () => {
    const { vm } = await running()
    let looks = 0
    await vm.waitFor({ until: () => ++looks === 3, intervalMs: 1 })
    const bug = new Error('bug')
    const failing = (): never => {
      throw bug
    }
    await expect(vm.waitFor({ until: failing })).rejects.toMatchObject({ code: 'BACKEND_ERROR', cause: bug })
  })

  it.each<[string, WaitForOptions]>([
    ['until', { until: () => false, intervalMs: 1 }],
    ['exec', { exec: ['exit', '1'], intervalMs: 1 }],
    ['port', { port: 80, intervalMs: 1 }],
    ['log', { log: 'never' }],
  ])('%s: fails at once when the machine ends first, with its last words', async (kind, condition) => {
    const { vm, driver } = kind === 'port' ? await published(1) : await running()
    const waiting = vm.waitFor(condition)
    const failed = expect(waiting).rejects.toMatchObject({
      code: 'GUEST_ERROR',
      message: expect.stringContaining('exit code 3; its last line was "two"'),
      evidence: { logTail: ['one', 'two'], exit: { code: 3 } },
      operation: 'waitFor',
    })
    await settled()
    driver.end(vm.id, { code: 3, signal: null, reason: 'exited' })
    await failed
  })

  it('times out with evidence, and leaves no timer', async () => {
    const { vm } = await running()
    vi.useFakeTimers()
    const waiting = vm.waitFor({ until: () => false, timeoutMs: 1000 })
    const failed = expect(waiting).rejects.toMatchObject({
      code: 'TIMEOUT',
      message: 'The condition did not happen within 1000 ms',
      evidence: { logTail: ['one', 'two'] },
    })
    await vi.advanceTimersByTimeAsync(1000)
    await failed
  })

  it('does not time out when told so', async () => {
    const { vm } = await running()
    let looks = 0
    await vm.waitFor({ until: () => ++looks === 3, intervalMs: 1, timeoutMs: Number.POSITIVE_INFINITY })
  })

  it('does not name the arguments of a command', async () => {
    const { vm } = await running({ execStream: () => new Promise(() => {}) })
    const error = await vm.waitFor({ exec: ['login', 'hunter2'], timeoutMs: 20 }).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'TIMEOUT', message: expect.stringContaining('"login"') })
    expect((error as Error).message).not.toContain('hunter2')
  })

  it('ends with its signal, and with the manager', async () => {
    const { vm } = await running()
    const controller = new AbortController()
    const waiting = vm.waitFor({ until: () => new Promise<boolean>(() => {}), signal: controller.signal })
    const failed = expect(waiting).rejects.toMatchObject({ code: 'ABORTED' })
    await settled()
    controller.abort()
    await failed
    await expect(vm.waitFor({ until: () => true, signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' })

    const manager = createManager({ drivers: { fake: fakeDriver() } })
    const other = await manager.create({}, { driver: 'fake' })
    const pending = expect(other.waitFor({ until: () => new Promise<boolean>(() => {}) })).rejects.toMatchObject({ code: 'ABORTED' })
    await settled()
    await manager.close()
    await pending
  })

  it.each<[unknown, string]>([
    [undefined, 'condition'],
    [null, 'condition'],
    [{}, 'condition'],
    [{ port: 1, log: 'x' }, 'condition'],
    [{ port: 0 }, 'condition.port'],
    [{ log: 5 }, 'condition.log'],
    [{ log: '' }, 'condition.log'],
    [{ healthy: false }, 'condition.healthy'],
    [{ exec: 'ls' }, 'condition.exec'],
    [{ until: true }, 'condition.until'],
    [{ port: 80, timeoutMs: Number.NaN }, 'condition.timeoutMs'],
    [{ port: 80, intervalMs: 0 }, 'condition.intervalMs'],
    [{ port: 80, signal: {} }, 'condition.signal'],
  ])('refuses %j', async (condition, field) => {
    const { vm } = await machine()
    await expect(vm.waitFor(condition as WaitForOptions)).rejects.toMatchObject({ code: 'INVALID_CONFIG', field })
  })

  it('needs logs for a line of them', async () => {
    const { vm } = await machine({}, ['logs', 'logs.since'])
    await expect(vm.waitFor({ log: 'x' })).rejects.toMatchObject({ code: 'UNSUPPORTED', capability: 'logs' })
  })
})
