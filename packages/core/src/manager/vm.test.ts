import { describe, expect, it, vi } from 'vitest'
import { type FakeOptions, fakeDriver, settled } from '../../test/fake-driver.js'
import type { VMConfig } from '../config/types.js'
import { VMKitError } from '../errors.js'
import { createManager } from './manager.js'

function setUp(options: FakeOptions = {}) {
  const driver = fakeDriver(options)
  const manager = createManager({ drivers: { fake: driver } })
  return { driver, manager, fake: manager.driver('fake') }
}

async function machine(options: FakeOptions = {}, config: VMConfig = {}) {
  const made = setUp(options)
  return { ...made, vm: await made.fake.create(config) }
}

describe('a handle', () => {
  it('moves a machine through its states, and does nothing where there is nothing to do', async () => {
    const { vm, driver } = await machine()
    expect((await vm.status()).state).toBe('created')
    await vm.stop()
    await vm.start()
    await vm.start()
    await vm.pause()
    await vm.pause()
    await vm.resume()
    await vm.resume()
    await vm.stop()
    await vm.stop()
    await vm.restart()
    await vm.kill()
    await vm.delete()
    expect(driver.calls).toEqual(['create', 'start', 'pause', 'resume', 'stop', 'start', 'kill', 'delete'])
    await expect(vm.status()).rejects.toMatchObject({ code: 'NOT_FOUND', vmId: vm.id, operation: 'status' })
  })

  it('refuses what is illegal, with the state in it', async () => {
    const { vm, driver } = await machine()
    await expect(vm.pause()).rejects.toMatchObject({
      code: 'INVALID_STATE',
      message: expect.stringContaining('`created`'),
      operation: 'pause',
    })
    await expect(vm.kill()).rejects.toMatchObject({ code: 'INVALID_STATE' })
    await vm.start()
    await expect(vm.delete()).rejects.toMatchObject({ code: 'INVALID_STATE', hint: expect.stringContaining('force') })
    expect(driver.calls).toEqual(['create', 'start'])
    await vm.delete({ force: true })
  })

  it('refuses a capability that is missing, with the reason, before the driver is asked', async () => {
    const { vm, driver } = await machine({ probe: { missing: { pause: 'no freezer', 'logs.since': 'no times' } } })
    await expect(vm.pause()).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      capability: 'pause',
      message: expect.stringContaining('no freezer'),
    })
    expect(() => vm.logs({ since: 0 })).toThrow(expect.objectContaining({ code: 'UNSUPPORTED', field: 'since' }))
    expect(vm.missing).toEqual({ pause: 'no freezer', 'logs.since': 'no times' })
    expect(driver.calls).toEqual(['create'])
  })

  it('knows what this one machine lacks', async () => {
    const overrides = { create: async () => ({ id: 'x', missing: { exec: 'no agent' } }) }
    const { vm, fake } = await machine({ overrides })
    expect(vm.supports('exec')).toBe(false)
    expect(fake.supports('exec')).toBe(true)
    await expect(vm.exec(['a'])).rejects.toMatchObject({ code: 'UNSUPPORTED', message: expect.stringContaining('no agent') })
  })

  it('stops a machine as its config says, unless the caller says otherwise', async () => {
    const stop = vi.fn(async () => {})
    const { vm, fake } = await machine({ overrides: { stop } }, { stop: { signal: 'SIGINT', graceMs: '90s' } })
    await vm.start()
    await vm.stop()
    await (await fake.get(vm.id)).stop({ graceMs: '1s' })
    await vm.stop({ signalName: 'SIGHUP' })
    expect(stop.mock.calls.map((call: unknown[]) => call[1])).toEqual([
      { graceMs: 90_000, signal: 'SIGINT' },
      { graceMs: 1000, signal: 'SIGINT' },
      { graceMs: 90_000, signal: 'SIGHUP' },
    ])
    const [[, , ctx] = []] = stop.mock.calls as unknown as [string, object, { deadline: number }][]
    expect((ctx?.deadline ?? 0) - Date.now()).toBeGreaterThan(110_000)
  })

  it('follows its machine to a new id', async () => {
    const { vm, driver } = await machine()
    await vm.snapshot('s')
    const before = vm.id
    await vm.restore('s')
    expect(vm.id).not.toBe(before)
    expect(driver.machines.has(vm.id)).toBe(true)
    await vm.start()
    expect((await vm.snapshots()).map(({ tag }) => tag)).toEqual(['s'])
    await vm.deleteSnapshot('s')
  })

  it('follows also when its caller has given up', async () => {
    let finish = (): void => {}
    const overrides = { restore: () => new Promise<{ id: string }>((resolve) => (finish = () => resolve({ id: 'new' }))) }
    const { vm } = await machine({ overrides })
    vi.useFakeTimers()
    const failed = expect(vm.restore('s', { timeoutMs: 10 })).rejects.toMatchObject({ code: 'TIMEOUT' })
    await vi.advanceTimersByTimeAsync(1000)
    await failed
    vi.useRealTimers()
    finish()
    await settled()
    expect(vm.id).toBe('new')
  })

  it('sends what waited behind a restore to the new id, still one at a time', async () => {
    let finish = (): void => {}
    const overrides = { deleteSnapshot: vi.fn(() => new Promise<void>((resolve) => (finish = resolve))) }
    const { vm, driver } = await machine({ overrides })
    await vm.snapshot('s')
    const restored = vm.restore('s')
    const started = vm.start()
    const dropped = vm.deleteSnapshot('s')
    await restored
    await started
    expect(driver.machines.get(vm.id)?.state).toBe('running')
    await settled()
    expect(overrides.deleteSnapshot).toHaveBeenCalledWith(vm.id, 's', expect.anything())
    const stopped = vm.stop()
    await settled()
    expect(driver.calls).not.toContain('stop')
    finish()
    await dropped
    await stopped
    expect(driver.calls).toContain('stop')
  })

  it('names the id that was asked when a state is refused', async () => {
    const { vm } = await machine()
    await vm.snapshot('s')
    const [, refused] = await Promise.allSettled([vm.restore('s'), vm.pause()])
    expect(refused).toMatchObject({ reason: { code: 'INVALID_STATE', vmId: vm.id } })
  })

  it('makes clones, whose names are new and whose policy is checked', async () => {
    const { vm, driver } = await machine({}, { name: 'x'.repeat(63) })
    await vm.snapshot('s')
    const clone = await vm.clone('s')
    expect(clone.name).toMatch(/^x{50}-[0-9a-f]{8}$/)
    expect(clone.onDispose).toBe('delete')
    expect(driver.machines.get(clone.id)?.config.labels).toHaveProperty(['vmkit.owner.pid'])
    await expect(vm.clone('s', { onDispose: 'burn' as 'delete' })).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      field: 'options.onDispose',
    })
    await clone.stop()
  })

  it('imports a bundle, and leaves nothing when that fails at its last step', async () => {
    const config = JSON.stringify({ ...(await (await machine({}, { name: 'b' })).vm.info()).config })
    const { fake, driver } = setUp()
    const vm = await fake.importBundle(Buffer.from(config), { name: 'c' })
    expect([vm.name, vm.onDispose]).toEqual(['c', 'delete'])
    const broken = setUp({ overrides: { getInfo: () => Promise.reject(new VMKitError('BACKEND_UNAVAILABLE', 'down')) } })
    await expect(broken.fake.importBundle(Buffer.from(config))).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' })
    await settled()
    expect(broken.driver.machines.size).toBe(0)
    expect(driver.machines.size).toBe(1)
  })

  it('tells where a port is reached', async () => {
    const ports = [
      { guest: 80, host: 8080, hostIp: '0.0.0.0', protocol: 'udp' as const },
      { guest: 80, host: 8081, hostIp: '0.0.0.0', protocol: 'tcp' as const },
      { guest: 81, host: 0, hostIp: '127.0.0.1', protocol: 'tcp' as const },
      { guest: 82, host: 8082, hostIp: '::', protocol: 'tcp' as const },
    ]
    const { vm } = await machine({}, { ports })
    expect(await vm.endpoint(80)).toEqual({ host: '127.0.0.1', port: 8081 })
    expect(await vm.endpoint(82)).toEqual({ host: '::1', port: 8082 })
    await expect(vm.endpoint(81)).rejects.toMatchObject({ code: 'NOT_FOUND', operation: 'endpoint' })
    await expect(vm.endpoint(83)).rejects.toMatchObject({ code: 'NOT_FOUND', hint: expect.stringContaining('guest: 83') })
    await expect(vm.endpoint(0)).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'port' })
    const { driver } = setUp()
    const getInfo = async (...args: Parameters<typeof driver.getInfo>) => ({ ...(await driver.getInfo(...args)), addresses: ['10.0.0.2'] })
    const manager = createManager({ drivers: { fake: { ...driver, getInfo } } })
    expect(await (await manager.create({}, { driver: 'fake' })).endpoint(83)).toEqual({ host: '10.0.0.2', port: 83 })
  })

  it('reads metrics until the machine ends', async () => {
    const { vm, driver } = await machine()
    await vm.start()
    let readings = 0
    for await (const reading of vm.watchMetrics({ intervalMs: 1 })) {
      expect(reading.source).toBe('fake')
      readings += 1
      if (readings === 3) driver.end(vm.id)
    }
    expect(readings).toBe(3)
  })

  it('gives files, terminals, screens and archives', async () => {
    const { vm } = await machine()
    expect(await vm.files.readText('/a')).toBe('content')
    const chunks: string[] = []
    for await (const chunk of vm.files.readStream('/a')) chunks.push(Buffer.from(chunk).toString())
    for await (const chunk of vm.copyOut('/a')) chunks.push(Buffer.from(chunk).toString())
    expect(chunks).toEqual(['content', 'tar'])
    await vm.files.write('/a', 'x', { mode: 0o600 })
    await vm.files.remove('/a')
    await vm.copyIn('/a', Buffer.from('tar'))
    expect(await vm.files.list('/')).toEqual([])
    await vm.start()
    await (await vm.attach()).close()
    await (await vm.console()).close()
    expect(await vm.vnc()).toEqual({ host: '127.0.0.1', port: 1 })
    expect(await vm.screenshot()).toHaveLength(1)
    const session = await vm.execStream(['echo', 'x'])
    expect((await session.wait()).exitCode).toBe(0)
    const device = await vm.attachDevice({ type: 'nic', id: 'net1' })
    await vm.detachDevice(device)
  })

  it.each<[string, (vm: Awaited<ReturnType<typeof machine>>['vm']) => unknown, string]>([
    ['start(null)', (vm) => vm.start(null as never), 'options'],
    ['start(signal)', (vm) => vm.start({ signal: 'x' as never }), 'options.signal'],
    ['start(timeoutMs)', (vm) => vm.start({ timeoutMs: Number.NaN }), 'options.timeoutMs'],
    ['start(timeoutMs)', (vm) => vm.start({ timeoutMs: -1 }), 'options.timeoutMs'],
    ['start(timeoutMs)', (vm) => vm.start({ timeoutMs: '5' as never }), 'options.timeoutMs'],
    ['start(onProgress)', (vm) => vm.start({ onProgress: 1 as never }), 'options.onProgress'],
    ['stop(graceMs)', (vm) => vm.stop({ graceMs: 'soon' }), 'options.graceMs'],
    ['stop(signalName)', (vm) => vm.stop({ signalName: 'TERM' }), 'options.signalName'],
    ['kill', (vm) => vm.kill('9'), 'signal'],
    ['delete(force)', (vm) => vm.delete({ force: 'yes' as never }), 'options.force'],
    ['files.read', (vm) => vm.files.read(''), 'path'],
    ['files.write', (vm) => vm.files.write('/a', 5 as never), 'content'],
    ['files.write(mode)', (vm) => vm.files.write('/a', '', { mode: 0o10000 }), 'options.mode'],
    ['resize', (vm) => vm.resize({ cpus: 0 }), 'limits.cpus'],
    ['attachDevice', (vm) => vm.attachDevice({ type: 'pci', address: 'x' }), 'device.address'],
    ['detachDevice', (vm) => vm.detachDevice('-x'), 'deviceId'],
    ['snapshot', (vm) => vm.snapshot('../x'), 'tag'],
    ['copyIn', (vm) => vm.copyIn('/a', 'x' as never), 'tar'],
  ])('%s names the bad argument before the driver is asked', async (_name, call, field) => {
    const { vm, driver } = await machine()
    await expect((async () => call(vm))()).rejects.toMatchObject({ code: 'INVALID_CONFIG', field })
    expect(driver.calls).toEqual(['create'])
  })
})

describe('disposing', () => {
  it('does it once, also after the manager did it', async () => {
    const { vm, driver, manager } = await machine()
    await vm[Symbol.asyncDispose]()
    await vm[Symbol.asyncDispose]()
    expect(driver.calls.filter((call) => call === 'delete')).toHaveLength(1)
    const other = await manager.driver('fake').create({})
    await manager.close()
    await other[Symbol.asyncDispose]()
  })

  it('is content with a machine that is gone', async () => {
    const { vm, driver, manager } = await machine()
    driver.machines.clear()
    await vm[Symbol.asyncDispose]()
    await manager.close()
  })

  it('has nothing left to do after delete, even when the manager is closed', async () => {
    const { vm, manager } = await machine()
    await vm.delete()
    await manager.close()
    await vm[Symbol.asyncDispose]()
  })

  it('fails with the backend', async () => {
    const { vm } = await machine({ overrides: { delete: () => Promise.reject(new VMKitError('BACKEND_UNAVAILABLE', 'down')) } })
    await expect(vm[Symbol.asyncDispose]()).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' })
  })
})
