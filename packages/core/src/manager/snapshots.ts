import type { Capability } from '../capabilities.js'
import type { MachineRef } from '../driver.js'
import type { SnapshotInfo } from '../machine.js'
import type { HandleOwner } from './handle-owner.js'
import type { MachineCalls } from './machine-calls.js'
import type { CallOptions } from './operation.js'
import { type DisposePolicy, ownerLabels } from './owner.js'
import { ARGUMENTS, OPTIONS, readArgument, readOptions } from './requests.js'
import type { SnapshotOptions, VM } from './vm-types.js'

export async function snapshot(calls: MachineCalls, tag: string, options?: SnapshotOptions): Promise<SnapshotInfo> {
  const name = readArgument(ARGUMENTS.name, tag, 'tag')
  const { memory = false, ...call } = readOptions(OPTIONS.snapshot, options)
  const spec = { needs: memory ? ('snapshot.memory' as const) : ('snapshot.disk' as const), guard: 'snapshot' as const }
  const info = await calls.exclusive('snapshot', spec, call, (id, ctx) => calls.method('snapshot')(id, name, { memory }, ctx))
  calls.emit({ type: 'snapshotted', tag: name })
  return info
}

export async function restore(calls: MachineCalls, tag: string, options?: CallOptions): Promise<void> {
  const name = readArgument(ARGUMENTS.name, tag, 'tag')
  const spec = { needs: anySnapshot(calls), guard: 'restore' as const }
  await calls.exclusive('restore', spec, readOptions(OPTIONS.call, options), async (id, ctx) => {
    // Also when the caller has given up meanwhile: the old id is gone.
    calls.machine.become(await calls.method('restore')(id, name, ctx))
  })
  calls.emit({ type: 'restored', tag: name })
}

export async function listSnapshots(calls: MachineCalls, options?: CallOptions): Promise<SnapshotInfo[]> {
  const spec = { needs: anySnapshot(calls) }
  return calls.call('listSnapshots', spec, readOptions(OPTIONS.call, options), (id, ctx) => calls.method('listSnapshots')(id, ctx))
}

export async function deleteSnapshot(calls: MachineCalls, tag: string, options?: CallOptions): Promise<void> {
  const name = readArgument(ARGUMENTS.name, tag, 'tag')
  const spec = { needs: anySnapshot(calls) }
  const call = readOptions(OPTIONS.call, options)
  await calls.exclusive('deleteSnapshot', spec, call, (id, ctx) => calls.method('deleteSnapshot')(id, name, ctx))
}

export async function clone(
  calls: MachineCalls,
  owner: HandleOwner,
  tag: string,
  options?: { name?: string; onDispose?: DisposePolicy } & CallOptions,
): Promise<VM> {
  const { backend, machine } = calls
  const from = readArgument(ARGUMENTS.name, tag, 'tag')
  const { name = cloneName(machine.name), onDispose = 'delete', ...call } = readOptions(OPTIONS.named, options)
  const request = { tag: from, name, labels: ownerLabels(onDispose, undefined) }
  const spec = { needs: 'clone' as const, guard: 'clone' as const, onLateResult: (late: MachineRef) => backend.deleteLate(late) }
  const ref = await calls.exclusive('clone', spec, call, (id, ctx) => calls.method('clone')(id, request, ctx))
  backend.events.emit({ type: 'created', driver: backend.name, id: ref.id, name, at: Date.now() })
  return owner.adopt(backend, { ...ref, name }, onDispose)
}

/** Listing, restoring and deleting serve both kinds of snapshot. */
function anySnapshot(calls: MachineCalls): Capability {
  return calls.missingReason('snapshot.disk') === undefined ? 'snapshot.disk' : 'snapshot.memory'
}

/** A name that is free, most likely, and at most 63 long. */
function cloneName(name: string): string {
  return `${name.slice(0, 50)}-${crypto.randomUUID().slice(0, 8)}`
}
