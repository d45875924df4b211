import type { CallContext, MigrationTicket } from '../driver.js'
import { VMKitError } from '../errors.js'
import type { Missing } from '../machine.js'
import type { Backend } from './backend.js'
import { targetOf } from './driver-handle.js'
import type { DriverHandle } from './driver-types.js'
import type { DisposePolicy } from './owner.js'
import type { MigrateOptions, MigrationResult } from './vm-types.js'

interface Source {
  id: string
  missing: Missing | undefined
  onDispose: DisposePolicy
}

/**
 * Moves a machine to another driver instance: the target gets ready, the source sends, the target finishes, and only when
 * it runs is the source deleted. A failure at any step leaves the source as it was and the target clean.
 */
export async function migrate(source: Backend, machine: Source, handle: DriverHandle, options: MigrateOptions): Promise<MigrationResult> {
  const live = options.live ?? false
  const needs = live ? ('migrate.live' as const) : ('migrate.cold' as const)
  const { backend: target, adopt } = targetOf(handle)
  await target.requireAvailable(options)
  target.require(needs, { operation: 'migrate' })
  if (target.driver.name !== source.driver.name) {
    throw new VMKitError('UNSUPPORTED', `A machine of ${source.driver.name} cannot migrate to ${target.driver.name}`, {
      driver: source.driver.name,
      operation: 'migrate',
      vmId: machine.id,
      hint: 'Between drivers, use exportBundle and importBundle',
    })
  }
  const startedAt = performance.now()
  return source.call<MigrationResult>(
    { operation: 'migrate', vmId: machine.id, needs, guard: 'migrate', exclusive: true },
    options,
    machine.missing,
    async (ctx) => {
      const { state, config, name } = await source.driver.getInfo(machine.id, ctx)
      const wasActive = state === 'running' || state === 'paused'
      if (live && !wasActive)
        throw new VMKitError('INVALID_STATE', `A live migration needs a machine that runs, not one that is \`${state}\``)
      const ticket = await method(target, 'prepareIncoming')({ config, live }, ctx)
      try {
        const stoppedAt = performance.now()
        if (!live && wasActive) await source.driver.stop(machine.id, {}, ctx)
        const stats = await method(source, 'migrateOut')(machine.id, ticket, { live }, ctx)
        const ref = await method(target, 'finishIncoming')(ticket, ctx)
        if (!live && wasActive) await target.driver.start(ref.id, ctx)
        const downtimeMs = live || !wasActive ? stats.downtimeMs : performance.now() - stoppedAt
        await source.driver.delete(machine.id, { force: true }, ctx)
        source.emit({ type: 'migrated', driver: source.driver.name, id: machine.id, name, at: Date.now() })
        return { vm: adopt({ ...ref, name }, machine.onDispose), bytes: stats.bytes, downtimeMs, totalMs: performance.now() - startedAt }
      } catch (error) {
        await rollBack(source, machine.id, wasActive, target, ticket)
        throw error
      }
    },
  )
}

/** After a failure: the source as it was, the target clean. Runs under its own context, because the caller's may be aborted. */
async function rollBack(source: Backend, id: string, wasActive: boolean, target: Backend, ticket: MigrationTicket): Promise<void> {
  const ctx: CallContext = { signal: new AbortController().signal, deadline: undefined, report: () => {} }
  await method(target, 'cancelIncoming')(ticket, ctx).catch(() => {})
  if (wasActive) await source.driver.start(id, ctx).catch(() => {})
}

function method<K extends 'prepareIncoming' | 'migrateOut' | 'finishIncoming' | 'cancelIncoming'>(
  backend: Backend,
  name: K,
): NonNullable<Backend['driver'][K]> {
  const found = backend.driver[name]
  if (!found) throw new VMKitError('BACKEND_ERROR', `The driver ${backend.driver.name} claims migration and has no ${name}`)
  return found.bind(backend.driver) as NonNullable<Backend['driver'][K]>
}
