import { describe, expect, it } from 'vitest'
import { fakeDriver } from '../test/fake-driver.js'
import type { CapabilityManifest } from './capabilities.js'
import type { VMKitError } from './errors.js'
import { checkDriver, type DriverModule, driversWith, findDriver, registerDriver, registeredDrivers } from './registry.js'

function moduleOf(name: unknown, more: Record<string, unknown> = {}): DriverModule<never, CapabilityManifest> {
  return { name, apiVersion: 1, package: `pkg-${String(name)}`, capabilities: {}, create: () => fakeDriver(), ...more } as never
}

describe('registerDriver', () => {
  it('takes the same driver twice, and keeps the first', () => {
    const module = moduleOf('twice')
    registerDriver(module)
    registerDriver(moduleOf('twice'))
    expect(findDriver('twice')).toBe(module)
    expect(registeredDrivers().filter(({ name }) => name === 'twice')).toHaveLength(1)
  })

  it('refuses a rival and names both', () => {
    registerDriver(moduleOf('held'))
    expect(() => registerDriver(moduleOf('held', { package: 'rival' }))).toThrow(
      expect.objectContaining({ code: 'ALREADY_EXISTS', message: expect.stringMatching(/pkg-held.*rival/) }),
    )
  })

  it.each([0, 2, '1', undefined])('refuses contract version %s', (apiVersion) => {
    expect(() => registerDriver(moduleOf('versioned', { apiVersion }))).toThrow(expect.objectContaining({ code: 'UNSUPPORTED' }))
  })

  it.each<[unknown, string]>([
    [null, 'driver'],
    ['x', 'driver'],
    [moduleOf('Upper'), 'driver.name'],
    [moduleOf(''), 'driver.name'],
    [moduleOf('__proto__'), 'driver.name'],
    [moduleOf(5), 'driver.name'],
    [moduleOf('a', { package: undefined }), 'driver.package'],
    [moduleOf('a', { create: 'x' }), 'driver.create'],
    [moduleOf('a', { capabilities: null }), 'driver.capabilities'],
    [moduleOf('a', { capabilities: { fly: true } }), 'driver.capabilities.fly'],
    [moduleOf('a', { capabilities: { pause: false } }), 'driver.capabilities.pause'],
  ])('refuses a malformed module %#', (module, field) => {
    expect(() => registerDriver(module as never)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG', field }))
  })
})

describe('findDriver', () => {
  it('says which import is missing', () => {
    expect(() => findDriver('docker')).toThrow(
      expect.objectContaining({ code: 'NOT_FOUND', hint: expect.stringContaining("import '@vmkit/docker'") }),
    )
    expect(() => findDriver('unheard-of')).toThrow(
      expect.objectContaining({ code: 'NOT_FOUND', hint: expect.stringContaining('the package of this driver') }),
    )
  })

  it('asks what was meant by a misspelt name, and says what that one needs', () => {
    registerDriver(moduleOf('lathe'))
    const hintOf = (name: string): string | undefined => {
      try {
        findDriver(name)
      } catch (error) {
        return (error as VMKitError).hint
      }
      return 'found'
    }
    expect(hintOf('lahte')).toBe('Did you mean `lathe`?')
    expect(hintOf('dokcer')).toMatch(/^Did you mean `docker`\? Then add: import '@vmkit\/docker'/)
    expect(hintOf('')).toMatch(/^add: import/)
  })

  it.each([5, null, undefined, Symbol('x'), {}])('refuses a name that is no text %#', (name) => {
    expect(() => findDriver(name as never)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }))
  })
})

describe('driversWith', () => {
  it('lists those that claim a capability, surely or perhaps', () => {
    registerDriver(moduleOf('with-sure', { capabilities: { vnc: true } }))
    registerDriver(moduleOf('with-perhaps', { capabilities: { vnc: 'probe' } }))
    expect(driversWith('vnc')).toEqual(['with-sure', 'with-perhaps'])
  })
})

describe('checkDriver', () => {
  it('accepts a driver whose claims and methods agree', () => {
    expect(() => checkDriver(fakeDriver())).not.toThrow()
    expect(() => checkDriver(fakeDriver({ without: ['pause', 'logs', 'logs.since'] }))).not.toThrow()
  })

  it('misses the method of a claim', () => {
    const { pause: _, ...driver } = fakeDriver()
    expect(() => checkDriver(driver)).toThrow(
      expect.objectContaining({ field: 'driver.pause', message: expect.stringContaining('claims `pause`') }),
    )
    const noFiles = { ...fakeDriver(), files: undefined }
    expect(() => checkDriver(noFiles)).toThrow(expect.objectContaining({ field: 'driver.files.read' }))
  })

  it('misses the claim of a method', () => {
    const driver = { ...fakeDriver({ without: ['pause'] }), pause: async () => {} }
    expect(() => checkDriver(driver)).toThrow(
      expect.objectContaining({ field: 'driver.capabilities', message: expect.stringContaining('has pause') }),
    )
  })

  it('lets either of two methods serve exec, and wants a claim for both', () => {
    const base = fakeDriver({ without: ['exec', 'exec.stream'] })
    const exec = async () => ({}) as never
    expect(() => checkDriver({ ...base, exec, capabilities: { ...base.capabilities, exec: true } })).not.toThrow()
    expect(() => checkDriver({ ...base, exec })).toThrow(expect.objectContaining({ message: expect.stringContaining('has exec') }))
    expect(() => checkDriver({ ...base, execStream: exec })).toThrow(
      expect.objectContaining({ message: expect.stringContaining('has execStream') }),
    )
  })

  it.each<[string, unknown, string]>([
    ['name', undefined, 'driver.name'],
    ['fields', undefined, 'driver.fields'],
    ['guards', ['fly'], 'driver.guards'],
    ['guards', 'start', 'driver.guards'],
    ['durability', 'forever', 'driver.durability'],
    ['isolation', undefined, 'driver.isolation'],
    ['wait', undefined, 'driver.wait'],
    ['capabilities', undefined, 'driver.capabilities'],
  ])('refuses %s: %s', (key, value, field) => {
    expect(() => checkDriver({ ...fakeDriver(), [key]: value } as never)).toThrow(
      expect.objectContaining({ code: 'INVALID_CONFIG', field }),
    )
  })

  it('refuses what is no driver, or of another contract', () => {
    expect(() => checkDriver(null as never)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG', field: 'driver' }))
    expect(() => checkDriver({ ...fakeDriver(), apiVersion: 2 } as never)).toThrow(expect.objectContaining({ code: 'UNSUPPORTED' }))
  })
})
