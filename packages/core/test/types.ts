/**
 * What the types promise, checked by tsc alone: a line under `@ts-expect-error` must not compile. Nothing here runs.
 * The registry is augmented in the test's own names, as driver packages do it.
 */
import { type AnyCapabilities, createManager, type VM, type VMConfig, type VMDriver, type VMManager } from '../src/index.js'

declare module '../src/index.js' {
  interface DriverRegistry {
    'typed-a': { options: { socket?: string }; capabilities: typeof capabilitiesA; machineOptions: { fast?: boolean }; extras: ExtrasA }
    'typed-b': { options: { root: string }; capabilities: typeof capabilitiesB }
  }
}

interface ExtrasA {
  spin(idOrName: string, ctx?: { signal?: AbortSignal }): Promise<number>
}
const capabilitiesA = { exec: true, pause: 'probe', logs: true, images: true, volumes: 'probe' } as const
const capabilitiesB = { 'snapshot.disk': true, 'snapshot.memory': 'probe', 'migrate.cold': true } as const

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
function check<_T extends true>(): void {}

export async function registered(): Promise<void> {
  const manager = createManager()
  const a = manager.driver('typed-a')
  const vm = await a.create({ driverOptions: { 'typed-a': { fast: true } } })
  await vm.exec(['x'])
  vm.logs()

  // Perhaps there: only behind supports().
  // @ts-expect-error pause depends on the host
  await vm.pause()
  if (vm.supports('pause')) {
    await vm.pause()
    await vm.resume()
    await vm.exec(['x'])
  } else {
    await vm.exec(['still a machine'])
    // @ts-expect-error refused in this branch
    await vm.pause()
  }
  if (!vm.supports('pause')) return
  await vm.pause()

  // Always there: both branches stay machines.
  if (vm.supports('exec')) await vm.exec(['x'])
  const sure: true = vm.supports('exec')
  // Never there: nothing to narrow to.
  const never: false = vm.supports('vnc')
  // @ts-expect-error not claimed
  await vm.vnc()
  // @ts-expect-error no such capability
  vm.supports('fly')
  void [sure, never]

  await a.images.pull('x')
  // @ts-expect-error volumes depend on the host
  await a.volumes.list()
  if (a.supports('volumes')) await a.volumes.list()
  // @ts-expect-error not claimed
  await a.networks.list()
}

export async function names(): Promise<void> {
  const manager = createManager({ drivers: { 'typed-a': { socket: '/x' } } })
  manager.driver('typed-a')
  manager.driver('typed-b')
  // @ts-expect-error not installed
  manager.driver('typed-c')
  // @ts-expect-error not installed
  await manager.create({}, { driver: 'typed-c' })
  // @ts-expect-error not installed
  await manager.get('typed-c', 'x')
  // @ts-expect-error not installed
  await manager.list({ driver: 'typed-c' })
  manager.lookup('any text')
  // @ts-expect-error a text is wanted
  createManager({ drivers: { 'typed-a': { socket: 5 } } })
  // @ts-expect-error root is required
  createManager({ drivers: { 'typed-b': {} } })
  const b = await manager.get('typed-b', 'x')
  await b.snapshot('tag')
  await b.migrate(manager.lookup('typed-b'))
  await b.migrate(manager.driver('typed-b'))
  // @ts-expect-error a machine is no driver
  await b.migrate(b)
  // @ts-expect-error memory snapshots depend on the host
  await b.snapshot('tag', { memory: true })
  if (b.supports('snapshot.memory')) await b.snapshot('tag', { memory: true })
}

export async function explicit(driver: VMDriver<typeof capabilitiesB>, plain: VMDriver): Promise<void> {
  const manager = createManager({ drivers: { mine: driver, plain } })
  const vm = await manager.create({}, { driver: 'mine' })
  check<Equal<typeof vm, VM<typeof capabilitiesB>>>()
  await vm.snapshot('tag')
  await vm.migrate(manager.driver('mine'))
  // @ts-expect-error not claimed
  await vm.exec(['x'])

  // A driver whose type tells nothing is asked for everything.
  const unknown = await manager.create({}, { driver: 'plain' })
  check<Equal<typeof unknown, VM<AnyCapabilities>>>()
  // @ts-expect-error not asked yet
  await unknown.exec(['x'])
  if (unknown.supports('exec')) await unknown.exec(['x'])
  if (unknown.supports('exec') && unknown.supports('snapshot.disk')) await unknown.snapshot((await unknown.exec(['x'])).stdout)
}

export async function extras(driver: VMDriver<typeof capabilitiesB> & { readonly extras: ExtrasA }): Promise<void> {
  const manager = createManager({ drivers: { mine: driver } })
  const turns: number = await manager.driver('typed-a').extras.spin('web', { timeoutMs: 5 })
  check<Equal<typeof turns, Awaited<ReturnType<typeof mine.extras.spin>>>>()
  const mine = manager.driver('mine')
  await mine.create({})
  if (mine.supports('snapshot.memory')) await mine.extras.spin('web')
  // @ts-expect-error no such method
  await mine.extras.fly('web')
  // @ts-expect-error the driver has none
  manager.driver('typed-b').extras
  // @ts-expect-error nothing is known of it
  manager.lookup('mine').extras
}

export async function atRunTime(manager: VMManager, name: string): Promise<void> {
  const vm = await manager.lookup(name).create({})
  if (vm.supports('files')) await vm.files.readText('/etc/hostname')
  // @ts-expect-error not asked yet
  await vm.files.read('/x')
  const byDefault = await manager.create({})
  check<Equal<typeof byDefault, VM>>()
}

export const configs: VMConfig[] = [
  { driverOptions: { 'typed-a': { fast: true }, 'not-installed': { anything: 1 } } },
  // @ts-expect-error fast is a boolean
  { driverOptions: { 'typed-a': { fast: 'yes' } } },
  // @ts-expect-error no such field
  { imagee: 'x' },
  // @ts-expect-error not a policy
  { restart: 'sometimes' },
]
