import type { CallContext, MachineRef, MigrationTicket } from '../driver.js'
import { invalidConfig, messageOf, VMKitError } from '../errors.js'
import type { MigrationStats, VMInfo, VMState } from '../machine.js'
import { type Backend, unhurried } from './backend.js'
import { targetOf } from './driver-handle.js'
import type { AnyDriverHandle } from './driver-types.js'
import type { TargetMachine } from './known-machine.js'
import type { DisposePolicy } from './owner.js'
import type { MigrateOptions, MigrationResult } from './vm-types.js'

/**
 * Moves a machine to another driver instance: the target gets ready, the source sends, the target finishes, and only when
 * it runs is the source deleted. A failure at any step leaves the source as it was and the target clean.
 */
export async function migrate(
  source: Backend,
  machine: TargetMachine,
  handle: AnyDriverHandle,
  onDispose: DisposePolicy,
  options: MigrateOptions,
): Promise<MigrationResult> {
  const { live = false, ...call } = options
  const { backend: target, owner } = targetOf(handle)
  const needs = live ? ('migrate.live' as const) : ('migrate.cold' as const)
  if (target === source) throw invalidConfig('target', 'another driver instance than that of the machine', handle)
  await target.host.requireAvailable(call)
  target.host.require(needs, { operation: 'migrate' })
  if (target.driver.name !== source.driver.name) {
    throw new VMKitError('UNSUPPORTED', `A machine of ${source.driver.name} cannot migrate to ${target.driver.name}`, {
      driver: source.name,
      operation: 'migrate',
      vmId: machine.id,
      hint: 'Between drivers, use exportBundle and importBundle',
    })
  }
  const spec = { operation: 'migrate', machine, needs, guard: 'migrate' as const, exclusive: true }
  return source.call<MigrationResult>(spec, call, async (ctx) => {
    const startedAt = performance.now()
    const info = await source.driver.getInfo(machine.id, ctx)
    const { ref, stats } = await move(source, target, info, live, ctx)
    source.events.emit({ type: 'migrated', driver: source.name, id: machine.id, name: info.name, at: Date.now() })
    const vm = owner.adopt(target, { ...ref, name: info.name, config: info.config }, onDispose)
    return { vm, ...stats, totalMs: performance.now() - startedAt }
  })
}

interface Moved {
  ref: MachineRef
  stats: MigrationStats
}

async function move(source: Backend, target: Backend, info: VMInfo, live: boolean, ctx: CallContext): Promise<Moved> {
  const { id, state, config } = info
  const wasActive = state === 'running' || state === 'paused'
  if (live && !wasActive) throw new VMKitError('INVALID_STATE', `A live migration needs a machine that runs, not one that is \`${state}\``)
  const stopsFirst = !live && wasActive
  const ticket = await method(target, 'prepareIncoming')({ config, live }, ctx)
  let arrived: MachineRef | undefined
  try {
    ctx.signal.throwIfAborted()
    const stoppedAt = performance.now()
    if (stopsFirst) await source.driver.stop(id, { ...config.stop }, ctx)
    const { bytes, downtimeMs, details } = await method(source, 'migrateOut')(id, ticket, { live }, ctx)
    ctx.signal.throwIfAborted()
    arrived = await method(target, 'finishIncoming')(ticket, ctx)
    if (stopsFirst) await activate(target, arrived.id, state, ctx)
    const stats = { bytes, downtimeMs: stopsFirst ? performance.now() - stoppedAt : downtimeMs, ...(details ? { details } : {}) }
    // From here on there is no way back, so this is the last moment to be aborted.
    ctx.signal.throwIfAborted()
    await deleteSource(source, id)
    return { ref: arrived, stats }
  } catch (error) {
    throw await rollBack(source, info, target, ticket, arrived, error)
  }
}

/** A source that is gone although its deletion failed must not be rolled back to. */
async function deleteSource(source: Backend, id: string): Promise<void> {
  try {
    await source.driver.delete(id, { force: true }, unhurried())
  } catch (error) {
    const isGone = await source.driver.getStatus(id, unhurried()).then(
      () => false,
      (problem: unknown) => problem instanceof VMKitError && problem.code === 'NOT_FOUND',
    )
    if (!isGone) throw error
  }
}

/**
 * After a failure: the target clean, then the source as it was. Under its own context, because the caller's may be aborted.
 * Returns the error to throw, which also tells what could not be undone.
 */
async function rollBack(
  source: Backend,
  { id, state }: VMInfo,
  target: Backend,
  ticket: MigrationTicket,
  arrived: MachineRef | undefined,
  error: unknown,
): Promise<VMKitError> {
  const ctx = unhurried()
  const problems: string[] = []
  const attempt = async (what: string, task: () => Promise<void>): Promise<void> => {
    await task().catch((problem: unknown) => void problems.push(`${what}: ${messageOf(problem)}`))
  }
  if (arrived) await attempt('the target could not be deleted', () => deleteArrived(target, arrived.id, ctx))
  await attempt('the target could not be cleaned up', () => method(target, 'cancelIncoming')(ticket, ctx))
  await attempt('the source could not be put back', () => activate(source, id, state, ctx))
  return VMKitError.from(error).with({ hint: problems.length > 0 ? problems.join('; ') : undefined })
}

async function deleteArrived(target: Backend, id: string, ctx: CallContext): Promise<void> {
  try {
    await target.driver.delete(id, { force: true }, ctx)
  } catch (error) {
    if (!(error instanceof VMKitError && error.code === 'NOT_FOUND')) throw error
  }
}

/** Brings a machine that does not run any more to the state it was in. */
async function activate({ driver }: Backend, id: string, wanted: VMState, ctx: CallContext): Promise<void> {
  if (wanted !== 'running' && wanted !== 'paused') return
  const { state } = await driver.getStatus(id, ctx)
  if (state === wanted) return
  if (state === 'paused') await driver.resume?.(id, ctx)
  else if (state !== 'running') await driver.start(id, ctx)
  if (wanted === 'paused') await driver.pause?.(id, ctx)
}

function method<K extends 'prepareIncoming' | 'migrateOut' | 'finishIncoming' | 'cancelIncoming'>(
  { driver }: Backend,
  name: K,
): NonNullable<Backend['driver'][K]> {
  const found = driver[name]
  if (!found) throw new VMKitError('BACKEND_ERROR', `The ${driver.name} driver claims migration and has no ${name}`)
  return found.bind(driver) as NonNullable<Backend['driver'][K]>
}
