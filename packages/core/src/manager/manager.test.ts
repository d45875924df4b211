import { describe, expect, it, vi } from 'vitest'
import { type FakeDriver, type FakeOptions, fakeDriver, settled, untilAborted } from '../../test/fake-driver.js'
import type { VMConfig } from '../config/types.js'
import { VMKitError } from '../errors.js'
import type { VMEvent } from '../machine.js'
import { registerDriver } from '../registry.js'
import { createManager, type ManagerOptions } from './manager.js'
import { ABANDON_AFTER_MS } from './operation.js'

function setUp(options: FakeOptions = {}, managerOptions: Omit<ManagerOptions, 'drivers'> = {}) {
  const driver: FakeDriver = fakeDriver(options)
  const manager = createManager({ drivers: { fake: driver }, ...managerOptions })
  return { driver, manager, fake: manager.driver('fake') }
}

async function collect(events: AsyncIterable<VMEvent>, into: VMEvent[]): Promise<void> {
  for await (const event of events) into.push(event)
}

describe('createManager', () => {
  it.each<[unknown, string]>([
    [null, 'options'],
    ['x', 'options'],
    [{ driver: 'x' }, 'options.driver'],
    [{ drivers: 5 }, 'options.drivers'],
    [{ concurrency: 0 }, 'options.concurrency'],
    [{ concurrency: '4' }, 'options.concurrency'],
    [{ timeouts: null }, 'options.timeouts'],
    [{ timeouts: { start: 0 } }, 'options.timeouts.start'],
    [{ timeouts: { start: Number.NaN } }, 'options.timeouts.start'],
    [{ hooks: { before: 'x' } }, 'options.hooks.before'],
    [{ hooks: null }, 'options.hooks'],
    [{ defaultDriver: 5 }, 'options.defaultDriver'],
  ])('refuses %j', (options, field) => {
    expect(() => createManager(options as ManagerOptions)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG', field }))
  })

  it('asks what was meant by a misspelt name', async () => {
    const { fake, manager } = setUp()
    const vm = await fake.create({})
    const asked: [() => unknown, string][] = [
      [() => createManager({ hook: {} } as never), 'options.hooks'],
      [() => fake.list({ state: ['running'] } as never), 'filter.states'],
      [() => fake.create({ memroy: 1 } as never), 'config.memory'],
      [() => vm.stop({ gracems: 5 } as never), 'options.graceMs'],
      [() => vm.exec(['a'], { timeout: 5 } as never), 'options.timeoutMs'],
      [() => vm.supports('puase' as never), 'pause'],
      [() => manager.lookup('fkae'), 'fake'],
    ]
    for (const [call, meant] of asked) {
      await expect((async () => call())()).rejects.toMatchObject({ hint: `Did you mean \`${meant}\`?` })
    }
  })

  it('touches nothing before it is used', () => {
    const create = vi.fn()
    registerDriver({ name: 'untouched', apiVersion: 1, package: 'p', capabilities: {}, create })
    createManager()
    expect(create).not.toHaveBeenCalled()
  })
})

describe('drivers', () => {
  it('are made once, with their options, and known by every name', () => {
    const create = vi.fn((_options: object) => fakeDriver({ name: 'registered' }))
    registerDriver({ name: 'registered', apiVersion: 1, package: 'p', capabilities: {}, create: create as never })
    const manager = createManager({ drivers: { mine: fakeDriver(), registered: { a: 1 } as never } })
    expect(manager.lookup('registered')).toBe(manager.lookup('registered'))
    expect(create).toHaveBeenCalledExactlyOnceWith({ a: 1 })
    expect(manager.drivers).toEqual(expect.arrayContaining(['mine', 'registered']))
  })

  it.each<[unknown, string]>([
    ['docker', 'NOT_FOUND'],
    ['__proto__', 'NOT_FOUND'],
    ['', 'INVALID_CONFIG'],
    [5, 'INVALID_CONFIG'],
    [undefined, 'INVALID_CONFIG'],
    [Symbol('x'), 'INVALID_CONFIG'],
  ])('%s is not there', (name, code) => {
    expect(() => createManager({ drivers: {} }).lookup(name as string)).toThrow(expect.objectContaining({ code }))
  })

  it('may fail to be made, with a typed error', () => {
    const create = (): never => {
      throw new TypeError('factory')
    }
    registerDriver({ name: 'broken', apiVersion: 1, package: 'p', capabilities: {}, create })
    expect(() => createManager().lookup('broken')).toThrow(
      expect.objectContaining({ code: 'BACKEND_ERROR', driver: 'broken', message: 'factory' }),
    )
  })

  it('are chosen by default when there is one, or when one is the default', async () => {
    const manager = createManager({ drivers: { one: fakeDriver(), two: fakeDriver() } })
    await expect(manager.create({})).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'options.driver' })
    const second = fakeDriver()
    await createManager({ drivers: { one: fakeDriver(), two: second }, defaultDriver: 'two' }).create({})
    expect(second.machines.size).toBe(1)
  })

  it('go by the name the app gave them', async () => {
    const manager = createManager({ drivers: { east: fakeDriver(), west: fakeDriver() } })
    const vm = await manager.create({ name: 'a' }, { driver: 'west' })
    expect([vm.driver, (await vm.info()).driver, manager.driver('west').name]).toEqual(['west', 'west', 'west'])
    const [summary] = await manager.list({ driver: 'west' })
    expect((await manager.get(summary?.driver as 'west', summary?.id as string)).id).toBe(vm.id)
  })
})

describe('extras', () => {
  const grow = async (idOrName: string, { signal }: { signal?: AbortSignal } = {}): Promise<number> => {
    if (idOrName === 'gone') throw new Error('no such machine')
    if (idOrName !== 'for ever') return 2
    return new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)))
  }
  const setUpExtras = (operations: string[] = []) => {
    const driver = Object.assign(fakeDriver(), { extras: { grow } })
    return createManager({ drivers: { fake: driver }, hooks: { before: ({ operation }) => void operations.push(operation) } }).driver(
      'fake',
    )
  }

  it('are called as any other operation: probed, hooked, timed out, aborted, with errors that say where', async () => {
    const operations: string[] = []
    const fake = setUpExtras(operations)
    expect(await fake.extras.grow('web')).toBe(2)
    expect(operations).toEqual(['probe', 'grow'])
    await expect(fake.extras.grow('for ever', { timeoutMs: 10 })).rejects.toMatchObject({ code: 'TIMEOUT', operation: 'grow' })
    await expect(fake.extras.grow('for ever', { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' })
    await expect(fake.extras.grow('gone')).rejects.toMatchObject({ code: 'BACKEND_ERROR', driver: 'fake', operation: 'grow' })
    await expect(fake.extras.grow('')).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'idOrName' })
    await expect(fake.extras.grow('web', { timeout: 1 } as never)).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
  })

  it('wait for a backend that is there', async () => {
    const driver = Object.assign(fakeDriver({ probe: { available: false } }), { extras: { grow: vi.fn(async (_: string) => 1) } })
    await expect(createManager({ drivers: { driver } }).driver('driver').extras.grow('web')).rejects.toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
    })
    expect(driver.extras.grow).not.toHaveBeenCalled()
  })

  it('are methods, and there are none without them', () => {
    const wrong = Object.assign(fakeDriver(), { extras: { grow: 5 } })
    expect(() => createManager({ drivers: { wrong } }).driver('wrong')).toThrow(expect.objectContaining({ field: 'driver.extras.grow' }))
    expect(setUp().manager.lookup('fake')).toHaveProperty('extras', {})
  })
})

describe('probe', () => {
  it('happens once for all who ask at a time, and not again while it is well', async () => {
    const probe = vi.fn(async () => ({ available: true, missing: {} }))
    const { fake } = setUp({ overrides: { probe } })
    await Promise.all([fake.probe(), fake.probe(), fake.list()])
    await fake.probe()
    expect(probe).toHaveBeenCalledOnce()
    await fake.probe({ refresh: true })
    expect(probe).toHaveBeenCalledTimes(2)
  })

  it('is asked again while the backend is down, which is told at once', async () => {
    let available = false
    const tried = [{ target: '/run/x.sock', result: 'ENOENT' }]
    const { fake, driver } = setUp({
      overrides: { probe: async () => ({ available, reason: 'no engine', hint: 'start it', tried, missing: {} }) },
    })
    for (const call of [() => fake.create({}), () => fake.get('a'), () => fake.list()]) {
      await expect(call()).rejects.toMatchObject({
        code: 'BACKEND_UNAVAILABLE',
        message: expect.stringContaining('no engine'),
        hint: 'start it',
        evidence: { tried },
      })
    }
    expect(fake.supports('pause')).toBe(false)
    expect(driver.calls).toEqual([])
    available = true
    await fake.create({})
  })

  it('says what somebody can mend, when it knows', async () => {
    const { fake } = setUp({
      overrides: {
        probe: async () => ({
          available: false,
          reason: 'EACCES',
          code: 'PERMISSION_DENIED',
          hint: 'join',
          field: 'options.socket',
          missing: {},
        }),
      },
    })
    const refusal = { code: 'PERMISSION_DENIED', retryable: false, driver: 'fake', hint: 'join', field: 'options.socket' }
    for (const call of [() => fake.create({}), () => fake.get('a'), () => fake.list()]) await expect(call()).rejects.toMatchObject(refusal)
  })

  it('can be left by one who asks, without ending it for another', async () => {
    let finish = (): void => {}
    const probe = () =>
      new Promise<{ available: true; missing: object }>((resolve) => (finish = () => resolve({ available: true, missing: {} })))
    const { fake } = setUp({ overrides: { probe } })
    const controller = new AbortController()
    const impatient = expect(fake.create({}, { signal: controller.signal })).rejects.toMatchObject({ code: 'ABORTED' })
    const hurried = expect(fake.probe({ timeoutMs: 1 })).rejects.toMatchObject({ code: 'TIMEOUT' })
    const patient = fake.probe()
    controller.abort()
    await Promise.all([impatient, hurried])
    finish()
    expect((await patient).available).toBe(true)
  })

  it('gives the reasons, for the driver and for its machines', async () => {
    const { fake } = setUp({ probe: { missing: { 'limits.cpu': 'no cgroup' } } })
    expect(fake.supports('limits.cpu')).toBe(true)
    await fake.probe()
    expect(fake.supports('limits.cpu')).toBe(false)
    expect(fake.missing).toEqual({ 'limits.cpu': 'no cgroup' })
    const vm = await fake.create({})
    expect(vm.supports('limits.cpu')).toBe(false)
    expect(() => vm.supports('fly' as 'pause')).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }))
    expect(() => fake.supports(5 as unknown as 'pause')).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }))
  })
})

describe('create', () => {
  it('hands the driver a parsed config with the labels of its owner, which users do not see', async () => {
    const { fake, driver } = setUp()
    const vm = await fake.create({ name: 'a', memory: '1KiB', labels: { mine: 'x' } })
    const config = driver.machines.get(vm.id)?.config
    expect(config).toMatchObject({ name: 'a', memory: 1024, labels: { mine: 'x', 'vmkit.dispose': 'delete' } })
    const info = await vm.info()
    expect(info.labels).toEqual({ mine: 'x' })
    expect(info.config.labels).toEqual({ mine: 'x' })
    expect((await fake.list())[0]?.labels).toEqual({ mine: 'x' })
  })

  it.each<[VMConfig, string, string | undefined]>([
    [{ rootfs: '/r' }, 'config.rootfs', undefined],
    [{ cpus: 1 }, 'config.cpus', 'limits.cpu'],
  ])('refuses %j before anything is made', async (config, field, capability) => {
    const { fake, driver } = setUp({ probe: { missing: { 'limits.cpu': 'no cgroup' } } })
    await expect(fake.create(config)).rejects.toMatchObject({ code: 'UNSUPPORTED', field, ...(capability ? { capability } : {}) })
    expect(driver.calls).toEqual([])
  })

  it('names registered drivers that could', async () => {
    registerDriver({ name: 'capable', apiVersion: 1, package: 'p', capabilities: { 'limits.cpu': true }, create: vi.fn() })
    const { fake } = setUp({ without: ['limits.cpu'] })
    await expect(fake.create({ cpus: 1 })).rejects.toMatchObject({ code: 'UNSUPPORTED', hint: expect.stringContaining('capable') })
  })

  it('leaves nothing when its result comes too late', async () => {
    const { fake, driver } = setUp()
    const create = driver.create
    let finish = (): void => {}
    const late = {
      ...driver,
      create: (...args: Parameters<typeof create>) => new Promise<void>((resolve) => (finish = resolve)).then(() => create(...args)),
    }
    const manager = createManager({ drivers: { late } })
    await manager.driver('late').probe()
    vi.useFakeTimers()
    const failed = expect(manager.create({}, { driver: 'late', timeoutMs: 10 })).rejects.toMatchObject({ code: 'TIMEOUT' })
    await vi.advanceTimersByTimeAsync(10 + ABANDON_AFTER_MS)
    await failed
    vi.useRealTimers()
    finish()
    await vi.waitFor(() => expect(driver.calls).toContain('delete'))
    expect(driver.machines.size).toBe(0)
    expect(fake.name).toBe('fake')
  })

  it('deletes a machine when its ttl is over', async () => {
    const { fake, driver } = setUp()
    vi.useFakeTimers()
    const vm = await fake.create({ ttl: '1m' }, { onDispose: 'detach' })
    await vm.start()
    await vi.advanceTimersByTimeAsync(60_000)
    expect(driver.machines.size).toBe(0)
    expect(vi.getTimerCount()).toBe(0)
    vi.useRealTimers()
  })
})

describe('list', () => {
  it('filters what the driver does not', async () => {
    const { fake, manager } = setUp()
    await fake.create({ name: 'a', labels: { role: 'x' } })
    const b = await fake.create({ name: 'b', labels: { role: 'y' } })
    await b.start()
    const names = async (filter: object) => (await fake.list(filter)).map(({ name }) => name)
    expect(await names({})).toEqual(['a', 'b'])
    expect(await names({ name: 'a' })).toEqual(['a'])
    expect(await names({ labels: { role: 'y' } })).toEqual(['b'])
    expect(await names({ labels: { constructor: 'x' } })).toEqual([])
    expect(await names({ states: ['running', 'paused'] })).toEqual(['b'])
    expect(await manager.list({ driver: 'fake', name: 'b' })).toHaveLength(1)
  })

  it.each<[unknown, string]>([
    [null, 'filter'],
    ['x', 'filter'],
    [{ name: 5 }, 'filter.name'],
    [{ states: 'running' }, 'filter.states'],
    [{ states: ['dreaming'] }, 'filter.states.0'],
    [{ labels: { a: 1 } }, 'filter.labels.a'],
    [{ typo: 1 }, 'filter.typo'],
  ])('refuses %j', async (filter, field) => {
    const { fake, manager, driver } = setUp()
    await expect(fake.list(filter as never)).rejects.toMatchObject({ code: 'INVALID_CONFIG', field })
    await expect(manager.list({ driver: 'fake', ...(filter as object) } as never))
      .resolves.toBeDefined()
      .catch(() => {})
    expect(driver.calls.filter((call) => call !== 'list')).toEqual([])
  })

  it('is an error while a backend is down, never a shorter list', async () => {
    const down = fakeDriver({ probe: { available: false, reason: 'down' } })
    const manager = createManager({ drivers: { up: fakeDriver(), down } })
    await expect(manager.list({ driver: 'down' })).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' })
  })
})

describe('a manager at run time', () => {
  it('shows what its type shows, and nothing more', () => {
    const { manager } = setUp()
    const shown = ['constructor', 'drivers', 'driver', 'lookup', 'create', 'get', 'list', 'events', 'sweep', 'close']
    expect(Reflect.ownKeys(Object.getPrototypeOf(manager))).toEqual(expect.arrayContaining(shown))
    expect(Reflect.ownKeys(Object.getPrototypeOf(manager))).toHaveLength(shown.length + 1) // and Symbol.asyncDispose
    expect(Reflect.ownKeys(manager)).toEqual([])
  })
})

describe('events', () => {
  it('are made by the manager where the backend has none', async () => {
    const { fake, manager } = setUp()
    const seen: VMEvent[] = []
    const reading = collect(manager.events({ driver: 'fake' }), seen)
    await fake.probe()
    await settled()
    const vm = await fake.create({ name: 'a' })
    await vm.start()
    await vm.start()
    await vm.pause()
    await vm.resume()
    await vm.resize({ cpus: 1 })
    await vm.snapshot('s')
    await vm.stop()
    await vm.restore('s')
    await fake.images.pull('x')
    await vm.delete()
    await manager.close()
    await reading
    const types = ['created', 'started', 'paused', 'resumed', 'resized', 'snapshotted', 'stopped', 'restored', 'image-pulled', 'deleted']
    expect(seen.map(({ type }) => type)).toEqual(types)
    expect(seen.find(({ type }) => type === 'stopped')).toMatchObject({ exit: { signal: 'SIGKILL' }, driver: 'fake', name: 'a' })
  })

  it('are those of the backend where it has some, under the name the app gave it', async () => {
    const driver = fakeDriver({
      probe: { missing: {} },
      overrides: {
        async *events(ctx) {
          yield { type: 'started', driver: 'fake', id: '1', name: 'n', at: 1 }
          await untilAborted(ctx)
        },
      },
    })
    const manager = createManager({ drivers: { mine: driver } })
    const events = manager.driver('mine').events()
    expect((await events.next()).value).toMatchObject({ type: 'started', driver: 'mine' })
    await events.return?.()
  })

  it('of one machine leave those of others out', async () => {
    const { fake, manager } = setUp()
    const [a, b] = [await fake.create({ name: 'a' }), await fake.create({ name: 'b' })]
    const seen: VMEvent[] = []
    const reading = collect(a.events(), seen)
    await settled()
    await b.start()
    await a.start()
    await manager.close()
    await reading
    expect(seen.map(({ type, ...event }) => `${type} ${'name' in event && event.name}`)).toEqual(['started a', 'deleted a'])
  })

  it('of one machine leave out a namesake that took its place', async () => {
    const { fake, manager, driver } = setUp()
    const old = await fake.create({ name: 'a' })
    const seen: VMEvent[] = []
    const reading = collect(old.events(), seen)
    await settled()
    driver.machines.clear()
    await (await fake.create({ name: 'a' })).start()
    await manager.close()
    await reading
    expect(seen).toEqual([])
  })

  it('of one machine go on under the id that another handle restored it to', async () => {
    const { fake, manager } = setUp()
    const vm = await fake.create({ name: 'a' })
    await vm.snapshot('s')
    const other = await fake.get(vm.id)
    const seen: VMEvent[] = []
    const reading = collect(vm.events(), seen)
    await settled()
    await other.restore('s')
    await other.start()
    await manager.close()
    await reading
    expect(seen.map((event) => `${event.type} ${'id' in event && event.id}`)).toEqual([`restored ${other.id}`, `started ${other.id}`])
  })

  it('fail with the backend, and with the signal', async () => {
    const driver = fakeDriver({
      probe: { missing: {} },
      overrides: {
        events: () => ({ [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(new VMKitError('BACKEND_UNAVAILABLE', 'gone')) }) }),
      },
    })
    const manager = createManager({ drivers: { driver, quiet: fakeDriver() } })
    await expect(manager.events({ driver: 'driver' }).next()).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' })
    const controller = new AbortController()
    const pull = expect(manager.events({ driver: 'quiet', signal: controller.signal }).next()).rejects.toMatchObject({ code: 'ABORTED' })
    controller.abort()
    await pull
  })

  it('refuse bad options', () => {
    const { manager, fake } = setUp()
    for (const options of [null, 5, { signal: 5 }]) {
      expect(() => manager.events(options as never)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }))
      expect(() => fake.events(options as never)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }))
    }
  })
})

describe('hooks', () => {
  it('are called around calls and streams, and may veto', async () => {
    const seen: string[] = []
    const hooks = {
      before: ({ operation }: { operation: string }) => {
        seen.push(`before ${operation}`)
        if (operation === 'start' || operation === 'logs') throw new VMKitError('PERMISSION_DENIED', 'not today')
      },
      after: ({ operation }: { operation: string }, error: VMKitError | undefined) => void seen.push(`after ${operation} ${error?.code}`),
    }
    const { fake, driver } = setUp({}, { hooks })
    const vm = await fake.create({})
    await expect(vm.start()).rejects.toMatchObject({ code: 'PERMISSION_DENIED', operation: 'start' })
    await expect(vm.logs().next()).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
    for await (const _ of vm.exportBundle());
    expect(driver.calls).not.toContain('start')
    expect(seen).toEqual([
      'before probe',
      'after probe undefined',
      'before create',
      'after create undefined',
      'before start',
      'after start PERMISSION_DENIED',
      'before logs',
      'after logs PERMISSION_DENIED',
      'before exportBundle',
      'after exportBundle undefined',
    ])
  })

  it('do not make a finished operation fail', async () => {
    const warned = new Promise<Error>((resolve) => process.once('warning', resolve))
    const after = (): never => {
      throw new Error('listener')
    }
    const { fake, driver } = setUp({}, { hooks: { after } })
    await fake.create({})
    expect(driver.machines.size).toBe(1)
    expect((await warned).message).toContain('listener')
  })

  it('have the deadline of their operation', async () => {
    const hooks = { before: ({ operation }: { operation: string }) => (operation === 'create' ? new Promise<void>(() => {}) : undefined) }
    const { fake } = setUp({}, { hooks, timeouts: { create: 10 } })
    await expect(fake.create({})).rejects.toMatchObject({ code: 'TIMEOUT' })
  })
})

describe('concurrency', () => {
  it('is bounded for what changes machines, per driver', async () => {
    let now = 0
    let most = 0
    const start = async (): Promise<void> => {
      now += 1
      most = Math.max(most, now)
      await settled()
      now -= 1
    }
    const { fake } = setUp({ overrides: { start } }, { concurrency: 2 })
    const vms = await Promise.all([1, 2, 3, 4, 5].map(() => fake.create({})))
    await Promise.all(vms.map((vm) => vm.start()))
    expect(most).toBe(2)
  })

  it('has one operation at a time per machine, whichever handle it comes from', async () => {
    let now = 0
    let most = 0
    const busy = async (): Promise<void> => {
      now += 1
      most = Math.max(most, now)
      await settled()
      now -= 1
    }
    const { fake } = setUp({ overrides: { pause: busy, resize: busy } })
    const vm = await fake.create({})
    await vm.start()
    const twin = await fake.get(vm.id)
    await Promise.all([vm.pause(), twin.pause(), vm.resize({ cpus: 1 }), twin.resize({ cpus: 2 })])
    expect(most).toBe(1)
  })

  it('a stop, kill or delete ends a start that does not end', async () => {
    for (const end of ['stop', 'kill', 'delete'] as const) {
      const { fake } = setUp({ overrides: { start: (_id, ctx) => untilAborted(ctx) } })
      const vm = await fake.create({})
      const started = expect(vm.start()).rejects.toMatchObject({ code: 'ABORTED', message: expect.stringContaining(`${end} was called`) })
      await settled()
      await (end === 'kill' ? vm.kill().catch(() => {}) : vm[end]())
      await started
    }
  })

  it('a stop that is aborted already leaves the start alone', async () => {
    let finish = (): void => {}
    const { fake } = setUp({ overrides: { start: () => new Promise<void>((resolve) => (finish = resolve)) } })
    const vm = await fake.create({})
    const started = vm.start()
    await settled()
    await expect(vm.stop({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' })
    finish()
    await started
  })
})

describe('sweep', () => {
  it('deletes what nobody will delete any more', async () => {
    const { fake, driver, manager } = setUp()
    const mine = await fake.create({ name: 'mine' })
    const orphan = await fake.create({ name: 'orphan' })
    const labels = driver.machines.get(orphan.id)?.config.labels as Record<string, string>
    labels['vmkit.owner.start'] = '1'
    const expired = await fake.create({ name: 'expired', ttl: '1h' }, { onDispose: 'detach' })
    ;(driver.machines.get(expired.id)?.config.labels as Record<string, string>)['vmkit.expires'] = '1'
    const swept = await manager.sweep({ driver: 'fake' })
    expect(swept.map(({ name, driver: by }) => `${by} ${name}`).sort()).toEqual(['fake expired', 'fake orphan'])
    expect([...driver.machines.keys()]).toEqual([mine.id])
  })

  it('passes over what another process swept first', async () => {
    const { fake, driver, manager } = setUp({ overrides: { delete: () => Promise.reject(new VMKitError('NOT_FOUND', 'gone')) } })
    const vm = await fake.create({}, { onDispose: 'detach' })
    ;(driver.machines.get(vm.id)?.config.labels as Record<string, string>)['vmkit.expires'] = '1'
    expect(await manager.sweep({ driver: 'fake' })).toEqual([])
  })

  it('passes over an engine that is not there, unless it is asked for by name', async () => {
    const { manager } = setUp({ overrides: { probe: async () => ({ available: false, reason: 'no engine', missing: {} }) } })
    // Other tests have registered drivers that cannot be made; this one is about the manager's own.
    vi.spyOn(manager, 'drivers', 'get').mockReturnValue(['fake'])
    expect(await manager.sweep()).toEqual([])
    await expect(manager.sweep({ driver: 'fake' })).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' })
  })
})

describe('close', () => {
  it('does to each machine what its policy says, and closes the driver last', async () => {
    const { fake, driver, manager } = setUp()
    const gone = await fake.create({ name: 'gone' })
    const stopped = await fake.create({ name: 'stopped' }, { onDispose: 'stop' })
    const kept = await fake.create({ name: 'kept' }, { onDispose: 'detach' })
    const found = await fake.get(kept.id)
    for (const vm of [gone, stopped, kept]) await vm.start()
    expect([gone, stopped, kept, found].map(({ onDispose }) => onDispose)).toEqual(['delete', 'stop', 'detach', 'detach'])
    await manager.close()
    await manager.close()
    expect([...driver.machines.values()].map(({ config, state }) => `${config.name} ${state}`)).toEqual(['stopped stopped', 'kept running'])
    expect(driver.calls.filter((call) => call === 'close')).toHaveLength(1)
    expect(driver.calls.at(-1)).toBe('close')
  })

  it('ends what is in flight, after the driver has cleaned up', async () => {
    let cleaned = false
    const create = async (_config: unknown, ctx: { signal: AbortSignal }): Promise<never> => {
      await untilAborted(ctx as never).catch(() => {})
      await settled()
      cleaned = true
      throw ctx.signal.reason
    }
    let closedAfterCleanUp: boolean | undefined
    const close = async (): Promise<void> => {
      closedAfterCleanUp = cleaned
    }
    const { fake, manager } = setUp({ overrides: { create, close } })
    await fake.probe()
    const failed = expect(fake.create({})).rejects.toMatchObject({ code: 'ABORTED', message: 'The manager is closed' })
    await settled()
    await manager.close()
    await failed
    expect(closedAfterCleanUp).toBe(true)
  })

  it('ends waits with an error, and events quietly', async () => {
    const { fake, manager } = setUp()
    const vm = await fake.create({}, { onDispose: 'detach' })
    await vm.start()
    const waiting = expect(vm.wait()).rejects.toMatchObject({ code: 'ABORTED' })
    const logs = vm.logs({ follow: true })
    await logs.next()
    await logs.next()
    const line = expect(logs.next()).rejects.toMatchObject({ code: 'ABORTED' })
    const events = [fake.events(), vm.events(), manager.events({ driver: 'fake' })].map((stream) => stream.next())
    await settled()
    await manager.close()
    await Promise.all([waiting, line])
    for (const event of await Promise.all(events)) expect(event.done).toBe(true)
  })

  it('refuses what comes after it', async () => {
    const { fake, manager } = setUp()
    const vm = await fake.create({}, { onDispose: 'detach' })
    await manager.close()
    await expect(vm.start()).rejects.toMatchObject({ code: 'ABORTED' })
    await expect(fake.create({})).rejects.toMatchObject({ code: 'ABORTED' })
    await expect(vm.logs().next()).rejects.toMatchObject({ code: 'ABORTED' })
    expect(() => createManager({ drivers: { a: fakeDriver() } }).driver('a')).not.toThrow()
    expect(() => manager.lookup('other')).toThrow(expect.objectContaining({ code: 'ABORTED' }))
  })

  it('tells all that went wrong, in one typed error', async () => {
    const overrides = {
      delete: () => Promise.reject(new VMKitError('BACKEND_UNAVAILABLE', 'down')),
      close: () => Promise.reject(new Error('stuck')),
    }
    const { fake, manager } = setUp({ overrides })
    await fake.create({})
    await expect(manager.close()).rejects.toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
      message: expect.stringMatching(/down.*stuck/),
      cause: expect.any(AggregateError),
    })
  })

  it('leaves no timer', async () => {
    const { fake, manager } = setUp()
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    await fake.create({ ttl: '1h' })
    await manager.close()
    expect(vi.getTimerCount()).toBe(0)
    vi.useRealTimers()
  })
})
