import { describe, expect, it } from 'vitest'
import type { CallContext, VMDriver } from './driver.js'
import { type DriverOperations, deferred, lazyDriver } from './lazy-driver.js'
import { checkDriver } from './registry.js'

const capabilities = Object.freeze({ pause: true, logs: true, files: 'probe', exec: true, 'exec.stream': true } as const)
const description = { name: 'late', apiVersion: 1, capabilities, fields: [], durability: 'app', isolation: 'none' } as const
const ctx: CallContext = { signal: new AbortController().signal, deadline: undefined, report: () => {} }

interface Operations extends DriverOperations<typeof capabilities> {
  find: Required<VMDriver>['find']
  reset(id: string): Promise<string>
  close(): void
}

/** Only what the tests call; anything else would be a `TypeError`. */
function late(own: Partial<Operations> = {}) {
  let loads = 0
  const load = async () => {
    loads += 1
    return own as Operations
  }
  return { driver: lazyDriver(description, load, ['find', 'reset']), loads: () => loads }
}

describe('a lazy driver', () => {
  it('has the methods that its claims bring, those that are named, and no other', () => {
    const { driver, loads } = late()
    checkDriver(driver)
    expect(Object.keys(driver.files).sort()).toEqual(['list', 'read', 'remove', 'write'])
    expect(driver.reset).toBeTypeOf('function')
    expect(driver).not.toHaveProperty('exec')
    expect(driver).not.toHaveProperty('volumes')
    expect(loads()).toBe(0)
  })

  it('loads with the first call, once, and passes on what it gets and gives', async () => {
    const seen: unknown[] = []
    const { driver, loads } = late({
      pause: async (...args) => void seen.push(args),
      find: async (name) => `id of ${name}`,
      reset: async (id) => `${id} was reset`,
    })
    await Promise.all([driver.pause('a', ctx), driver.pause('b', ctx)])
    expect(seen).toEqual([
      ['a', ctx],
      ['b', ctx],
    ])
    expect([await driver.find('web', ctx), await driver.reset('a')]).toEqual(['id of web', 'a was reset'])
    expect(loads()).toBe(1)
  })

  it('gives streams that load when they are pulled, and that are left when their reader leaves', async () => {
    let left = 0
    async function* bytes() {
      try {
        yield Uint8Array.of(1)
        yield Uint8Array.of(2)
      } finally {
        left += 1
      }
    }
    const files = { read: bytes } as Partial<Operations['files']> as Operations['files']
    const { driver, loads } = late({ files })
    const stream = driver.files.read('a', '/x', ctx)
    expect(loads()).toBe(0)
    for await (const chunk of stream) {
      expect(chunk).toEqual(Uint8Array.of(1))
      break
    }
    expect([loads(), left]).toEqual([1, 1])
  })

  it('calls a method on what it belongs to', async () => {
    const files = {
      async list() {
        return this === files ? [] : Promise.reject(new Error('on something else'))
      },
    } as Partial<Operations['files']> as Operations['files']
    expect(await late({ files }).driver.files.list('a', '/', ctx)).toEqual([])
  })

  it('rejects when a call throws, a stream when it is pulled', async () => {
    const boom = (): never => {
      throw new Error('boom')
    }
    const { driver } = late({ pause: boom, logs: boom })
    await expect(driver.pause('a', ctx)).rejects.toThrow('boom')
    const stream = driver.logs('a', {}, ctx)[Symbol.asyncIterator]()
    await expect(stream.next()).rejects.toThrow('boom')
  })

  it('is refused by the compiler when what it loads lacks what it claims', async () => {
    type Lacking = Omit<Operations, 'pause'>
    // @ts-expect-error `pause` is claimed
    const driver = lazyDriver(description, async () => ({}) as Lacking)
    await expect(driver.pause('a', ctx)).rejects.toThrow(TypeError)
  })

  it('tries again to load what failed to load', async () => {
    let tries = 0
    const driver = lazyDriver(description, async () => {
      tries += 1
      if (tries === 1) throw new Error('too many open files')
      return { list: async () => [] } as Partial<Operations> as Operations
    })
    await expect(driver.list({}, ctx)).rejects.toThrow('too many open files')
    expect(await driver.list({}, ctx)).toEqual([])
  })
})

describe('closing a lazy driver', () => {
  it('loads nothing, and what is called later says so', async () => {
    const { driver, loads } = late()
    await driver.close()
    await expect(driver.pause('a', ctx)).rejects.toMatchObject({ code: 'INVALID_STATE', driver: 'late' })
    await expect(driver.logs('a', {}, ctx)[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'INVALID_STATE' })
    expect(loads()).toBe(0)
  })

  it('closes what was loaded, also when that comes after it', async () => {
    const closed: string[] = []
    const { driver } = late({ list: async () => [], close: () => void closed.push('closed') })
    const listed = driver.list({}, ctx)
    await driver.close()
    expect([await listed, closed]).toEqual([[], ['closed']])
  })

  it('needs nothing of what failed to load, or has nothing to close', async () => {
    const broken = lazyDriver(description, (): Promise<Operations> => Promise.reject(new Error('no memory')))
    const call = broken.list({}, ctx)
    await broken.close()
    await expect(call).rejects.toThrow('no memory')
    const { driver } = late({ list: async () => [] })
    await driver.list({}, ctx)
    await driver.close()
  })
})

it('a part of a driver is deferred by the names of its methods', async () => {
  const rest = {
    wait: async (id: string) => `${id} ended`,
    async *events() {
      yield 'started'
    },
    images: { list: async () => ['debian'], remove: async () => {} },
  }
  const methods = deferred(async () => rest, ['wait', 'events', 'images.list'])
  expect(await methods.wait('a')).toBe('a ended')
  expect(await methods.images.list()).toEqual(['debian'])
  for await (const event of methods.events()) expect(event).toBe('started')
  expect(Object.keys(methods.images)).toEqual(['list'])
})
