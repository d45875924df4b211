/** Whatever is passed to a public method: a VMKitError, or success; never another exception, and nothing made for bad input. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createManager, VMKitError } from '../src/index.js'
import { fakeDriver } from './fake-driver.js'

const hostile = [
  null,
  undefined,
  Number.NaN,
  -1,
  2 ** 53,
  '',
  '-x',
  '../x',
  'a\0b',
  '__proto__',
  Symbol('s'),
  1n,
  () => {},
  Object.create(null),
  JSON.parse('{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}'),
  AbortSignal.abort(),
  { signal: AbortSignal.abort() },
  { signal: {} },
  { timeoutMs: Number.NaN },
  { timeoutMs: '1' },
  { onProgress: 1 },
  { force: 'yes' },
  { port: 0 },
  { until: () => true },
  { name: 'fresh' },
  { image: 'x' },
  { columns: 1, rows: 1 },
  new Date(Number.NaN),
  new Uint8Array(1),
  new Proxy(
    {},
    {
      get() {
        throw new Error('get')
      },
      ownKeys() {
        throw new Error('ownKeys')
      },
    },
  ),
  {
    get signal() {
      throw new Error('getter')
    },
  },
]
const cyclic: Record<string, unknown> = {}
cyclic.self = cyclic
const argument = fc.oneof(
  fc.constantFrom(...hostile, cyclic),
  fc.string(),
  fc.integer(),
  fc.anything({ withBigInt: true, withNullPrototype: true }),
)
const someArguments = fc.array(argument, { maxLength: 3 })

type Method = (...args: unknown[]) => unknown

/** Every public function of an object and of its groups, with a dotted name. */
function methodsOf(subject: object, skip: readonly string[]): [string, Method][] {
  const names = new Set([...Object.getOwnPropertyNames(subject), ...Object.getOwnPropertyNames(Object.getPrototypeOf(subject))])
  return [...names].flatMap((name): [string, Method][] => {
    if (name === 'constructor' || skip.includes(name)) return []
    const value = (subject as Record<string, unknown>)[name]
    if (typeof value === 'function') return [[name, (value as Method).bind(subject)]]
    if (!['files', 'images', 'volumes', 'networks'].includes(name)) return []
    return Object.entries(value as Record<string, Method>).map(([key, method]) => [`${name}.${key}`, method])
  })
}

/** Runs a call to its end: a promise is awaited, a stream is read for one value. */
async function outcome(method: Method, args: unknown[]): Promise<VMKitError | undefined> {
  try {
    const result = await method(...args)
    const iterator = result as AsyncIterator<unknown> | undefined
    if (typeof iterator?.next === 'function') {
      await iterator.next()
      await iterator.return?.()
    }
    return undefined
  } catch (error) {
    if (error instanceof VMKitError) return error
    throw error
  }
}

function expectTyped(error: VMKitError | undefined): void {
  if (error?.code !== 'INVALID_CONFIG') return
  expect(error.field).toBeTruthy()
  expect(error.message).toMatch(/^`.+`: expected .+, got ./s)
}

// Not called at random: what lasts until something happens, and what the manager's type does not show.
const LASTING = ['wait', 'events', 'close', 'watchMetrics', 'adopt', 'forget', 'expire']

async function setUp() {
  const driver = fakeDriver()
  const manager = createManager({ drivers: { fake: driver } })
  const vm = await manager.create({ name: 'vm' }, { driver: 'fake', onDispose: 'detach' })
  driver.calls.length = 0
  return { driver, manager, vm, handle: manager.driver('fake') }
}

describe('with any arguments', () => {
  it.each(['manager', 'handle', 'vm'] as const)('every method of the %s is typed in its failure', async (subject) => {
    const { [subject]: object } = await setUp()
    const names = methodsOf(object, LASTING).map(([name]) => name)
    expect(names.length).toBeGreaterThan(subject === 'manager' ? 5 : 10)
    for (const name of names) {
      await fc.assert(
        fc.asyncProperty(someArguments, async (args) => {
          const made = await setUp()
          const method = methodsOf(made[subject], LASTING).find(([found]) => found === name)?.[1] as Method
          const error = await outcome(method, args)
          expectTyped(error)
          if (error?.code === 'INVALID_CONFIG') expect(made.driver.calls).toEqual([])
        }),
        { numRuns: 60 },
      )
    }
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
  })

  it('every method of a running machine is typed in its failure', async () => {
    const { vm, driver } = await setUp()
    for (const [name, method] of methodsOf(vm, [...LASTING, 'logs'])) {
      await fc.assert(
        fc.asyncProperty(someArguments, async (args) => {
          const record = driver.machines.get(vm.id)
          if (record) record.state = 'running'
          expectTyped(await outcome(method, args))
        }),
        { numRuns: 30 },
      )
      if (name === 'delete') break
    }
  })

  it('createManager is typed in its failure', () => {
    fc.assert(
      fc.property(
        fc.oneof(argument, fc.dictionary(fc.constantFrom('drivers', 'timeouts', 'hooks', 'concurrency', 'defaultDriver'), argument)),
        (options) => {
          try {
            createManager(options as never)
          } catch (error) {
            expect(error).toBeInstanceOf(VMKitError)
            expectTyped(error as VMKitError)
          }
        },
      ),
      { numRuns: 300 },
    )
  })

  it('a stream with a signal that has fired is ABORTED', async () => {
    const { vm, handle, manager } = await setUp()
    const signal = AbortSignal.abort()
    for (const stream of [
      vm.logs({ signal }),
      vm.events({ signal }),
      vm.watchMetrics({ signal }),
      handle.events({ signal }),
      manager.events({ signal }),
    ]) {
      await expect(stream.next()).rejects.toMatchObject({ code: 'ABORTED' })
    }
  })
})
