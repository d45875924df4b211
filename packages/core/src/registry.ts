import { CAPABILITIES, CAPABILITY_TABLE, type Capability, type CapabilityManifest, isCapability } from './capabilities.js'
import { closest } from './closest.js'
import { API_VERSIONS, type VMDriver } from './driver.js'
import { describeValue, invalidConfig, VMKitError } from './errors.js'
import { isGuarded } from './states.js'

/** What a driver package registers when it is imported. Making a driver touches no host: that is the probe's job. */
export interface DriverModule<O = never, C extends CapabilityManifest = CapabilityManifest> {
  /** What apps call it, such as `docker`. */
  readonly name: string
  readonly apiVersion: 1
  /** The npm package, for messages and to tell a second copy from a rival. */
  readonly package: string
  readonly capabilities: C
  create(options: O): VMDriver<C>
}

// Shared by all installed copies of core; the number changes with the shape of what is stored here.
const REGISTRY = Symbol.for('@vmkit/registry@1')

function modules(): Map<string, DriverModule> {
  const shared = globalThis as { [REGISTRY]?: Map<string, DriverModule> }
  shared[REGISTRY] ??= new Map()
  return shared[REGISTRY]
}

/**
 * Makes a driver known by its name. Importing a driver package does this. The same package twice is harmless.
 * @throws VMKitError `ALREADY_EXISTS` when another package holds the name; `INVALID_CONFIG` for a malformed module
 */
export function registerDriver<O, C extends CapabilityManifest>(module: DriverModule<O, C>): void {
  if (typeof module !== 'object' || module === null) throw invalidConfig('driver', 'a driver module', module)
  if (typeof module.name !== 'string' || !/^[a-z][a-z0-9-]*$/.test(module.name)) {
    throw invalidConfig('driver.name', 'a lower-case name', module.name)
  }
  if (typeof module.package !== 'string') throw invalidConfig('driver.package', 'the name of an npm package', module.package)
  if (typeof module.create !== 'function') throw invalidConfig('driver.create', 'a function', module.create)
  checkVersion(module.apiVersion, module.name)
  checkManifest(module.capabilities, module.name)
  const present = modules().get(module.name)
  if (present && present.package !== module.package) {
    throw new VMKitError(
      'ALREADY_EXISTS',
      `The driver name \`${module.name}\` is taken by ${present.package}; ${module.package} cannot register it too`,
      {
        driver: module.name,
        hint: `Import one of the two, or wire the other one explicitly: createManager({ drivers: { other: create() } })`,
      },
    )
  }
  if (!present) modules().set(module.name, module as unknown as DriverModule)
}

/** The registered drivers, by name. */
export function registeredDrivers(): readonly DriverModule[] {
  return [...modules().values()]
}

/** `known`: the names that the caller has. @throws VMKitError `NOT_FOUND` that says which import is missing */
export function findDriver(name: string, known: readonly string[] = [...modules().keys()]): DriverModule {
  if (typeof name !== 'string') throw invalidConfig('name', 'the name of a driver', name)
  const module = modules().get(name)
  if (module) return module
  const others = known.filter((other) => other !== name)
  const meant = OWN_DRIVERS.has(name) ? undefined : closest(name, [...others, ...OWN_DRIVERS])
  const there = others.length > 0 ? `there are: ${others.join(', ')}` : 'there is none'
  throw new VMKitError('NOT_FOUND', `No driver \`${name}\` is registered; ${there}`, {
    driver: name,
    hint: meant === undefined ? addImport(name) : `Did you mean \`${meant}\`?${others.includes(meant) ? '' : ` Then ${addImport(meant)}`}`,
  })
}

function addImport(name: string): string {
  return `add: import '${OWN_DRIVERS.has(name) ? `@vmkit/${name}` : 'the package of this driver'}' (a type-only import does not register it)`
}

const OWN_DRIVERS: ReadonlySet<string> = new Set(['kvm', 'docker', 'containerd', 'kata', 'process', 'mock'])

/** Registered drivers that claim a capability; they are who could do it. */
export function driversWith(capability: Capability): string[] {
  return registeredDrivers()
    .filter((module) => module.capabilities[capability] !== undefined)
    .map((module) => module.name)
}

/**
 * Whether an instance keeps its own promises: version, manifest, and a method for each claim and no other.
 * @throws VMKitError `INVALID_CONFIG` naming what does not fit
 */
export function checkDriver(driver: VMDriver): void {
  if (typeof driver !== 'object' || driver === null) throw invalidConfig('driver', 'a VMDriver', driver)
  if (typeof driver.name !== 'string' || driver.name === '') throw invalidConfig('driver.name', 'the name of the driver', driver.name)
  checkVersion(driver.apiVersion, driver.name)
  checkManifest(driver.capabilities, driver.name)
  if (!Array.isArray(driver.fields)) throw invalidConfig('driver.fields', `the config fields that ${driver.name} honours`, driver.fields)
  if (!DURABILITIES.includes(driver.durability)) throw invalidConfig('driver.durability', "'host' or 'app'", driver.durability)
  if (!ISOLATIONS.includes(driver.isolation)) throw invalidConfig('driver.isolation', ISOLATIONS.join(', '), driver.isolation)
  const { guards = [] } = driver
  if (!Array.isArray(guards) || !guards.every(isGuarded))
    throw invalidConfig('driver.guards', `operations of the state table that the backend of ${driver.name} guards itself`, guards)
  for (const method of REQUIRED_METHODS) {
    if (typeof driver[method] !== 'function')
      throw invalidConfig(`driver.${method}`, `a method of the driver ${driver.name}`, driver[method])
  }
  for (const [name, extra] of Object.entries(driver.extras ?? {}))
    if (typeof extra !== 'function') throw invalidConfig(`driver.extras.${name}`, `a method of the driver ${driver.name}`, extra)
  const claimed = CAPABILITIES.filter((capability) => driver.capabilities[capability])
  for (const capability of claimed) {
    const missing = CAPABILITY_TABLE[capability].methods.find((method) => !method.split('|').some((name) => hasMethod(driver, name)))
    if (missing) throw invalidConfig(`driver.${missing}`, `a method, because the driver ${driver.name} claims \`${capability}\``, undefined)
  }
  const expected = new Set(claimed.flatMap(methodsOf))
  for (const capability of CAPABILITIES) {
    const extra = methodsOf(capability).find((name) => !expected.has(name) && hasMethod(driver, name))
    if (extra) throw invalidConfig('driver.capabilities', `\`${capability}\`, because the driver ${driver.name} has ${extra}`, undefined)
  }
}

const DURABILITIES: readonly unknown[] = ['host', 'app']
const ISOLATIONS: readonly unknown[] = ['none', 'process', 'container', 'sandbox', 'vm']
/** Those that every driver has. */
export const REQUIRED_METHODS = [
  'probe',
  'create',
  'start',
  'stop',
  'kill',
  'delete',
  'getStatus',
  'getInfo',
  'getMetrics',
  'list',
  'wait',
  'close',
] as const

/** The names of all methods that can implement a capability. */
function methodsOf(capability: Capability): string[] {
  return CAPABILITY_TABLE[capability].methods.flatMap((method) => method.split('|'))
}

function hasMethod(driver: VMDriver, dotted: string): boolean {
  const found = dotted.split('.').reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], driver)
  return typeof found === 'function'
}

function checkVersion(version: unknown, name: string): void {
  if (!API_VERSIONS.includes(version as number)) {
    throw new VMKitError(
      'UNSUPPORTED',
      `The driver ${name} speaks contract version ${describeValue(version)}; this core accepts ${API_VERSIONS.join(' and ')}`,
      {
        driver: name,
        hint: 'Install versions of the driver and of @vmkit/core that belong together',
      },
    )
  }
}

function checkManifest(manifest: unknown, name: string): void {
  if (typeof manifest !== 'object' || manifest === null)
    throw invalidConfig('driver.capabilities', `a manifest of the driver ${name}`, manifest)
  for (const [flag, claim] of Object.entries(manifest)) {
    if (!isCapability(flag)) throw invalidConfig(`driver.capabilities.${flag}`, 'a capability that core knows', flag)
    if (claim !== true && claim !== 'probe') throw invalidConfig(`driver.capabilities.${flag}`, "true or 'probe'", claim)
  }
}
