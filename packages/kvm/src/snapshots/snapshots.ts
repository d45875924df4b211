/** Snapshots: disks by layers, memory by QEMU's own stream, both of one instant. */
import { closeSync, openSync, rmSync } from 'node:fs'
import { relative } from 'node:path'
import { type CallContext, type MachineRef, type SnapshotInfo, VMKitError } from '@vmkit/core/driver'
import { untilPortOpen } from '../agent/port-open.js'
import { FIRST_EXEC_PORT } from '../boot/channels.js'
import { addLayer, dropUnusedLayers } from '../disk/layers.js'
import { ownDisks, withTops } from '../disk/own-disks.js'
import { DRIVER, invalidState, systemError } from '../errors.js'
import type { Host } from '../host.js'
import { end, launchRun } from '../lifecycle.js'
import { setCapabilities, untilArrived } from '../migrate/outgoing.js'
import { connectTaps } from '../net/attach.js'
import { noteJoined, tellJoined } from '../net/names.js'
import { FIRST_INHERITED_FD } from '../qemu/launch.js'
import type { MachineSpec } from '../qemu/machine-spec.js'
import type { Qmp } from '../qmp/client.js'
import { command } from '../qmp/command.js'
import { specOf } from '../spec.js'
import { record } from '../state/journal.js'
import { withLock } from '../state/lock.js'
import { forgetRun, type Run, statusOf } from '../state/run.js'
import { forgetSaving, noteSaving } from '../state/saving.js'
import type { Machine } from '../state/store.js'
import { goOn } from './cut-off.js'
import { type Frozen, freezeAtRest, freezeLive, setTops } from './freeze-disks.js'
import { readyToMigrate, versionedName } from './live.js'
import { saveMemory } from './memory-file.js'
import { quietly } from './quiesce.js'
import {
  addSnapshot,
  allSnapshots,
  findSnapshot,
  getSnapshot,
  makeSnapshotFolder,
  memoryFileOf,
  ramFileOf,
  removeSnapshot,
  type SnapshotRecord,
  type StoredSnapshot,
  snapshotInfo,
} from './records.js'
import { copyMemory } from './template.js'

export async function snapshot(
  host: Host,
  { id }: Machine,
  tag: string,
  { memory }: { memory: boolean },
  ctx: CallContext,
): Promise<SnapshotInfo> {
  return withLock(host.store.get(id), 'snapshot', ctx.signal, async (signal) => {
    const machine = host.store.get(id)
    await goOn(machine, signal)
    const { folder } = machine
    if (findSnapshot(folder, tag))
      throw new VMKitError('ALREADY_EXISTS', `There is a snapshot ${JSON.stringify(tag)} already`, { driver: DRIVER, vmId: id })
    const disks = ownDisks(machine)
    if (!memory && disks.length === 0) throw noDisk(machine)
    const { state, run } = statusOf(folder)
    const isLive = state === 'running' || state === 'paused'
    if (memory && !isLive) throw invalidState(id, 'save the memory of', state)
    makeSnapshotFolder(folder)
    // What a snapshot that was cut off left behind.
    removeSnapshot(folder, tag)
    const found: Omit<SnapshotRecord, 'format'> = isLive
      ? await command(machine, signal, (qmp) => takeLive(host, machine, qmp, tag, memory && run ? run : undefined, { ...ctx, signal }))
      : { tag, createdAt: Date.now(), disks: (await freezeAtRest(host, machine)).layers }
    addSnapshot(folder, found)
    record(host.options.stateDir, machine, { type: 'snapshotted', tag })
    return snapshotInfo(folder, { format: 1, ...found })
  })
}

function noDisk({ id }: Machine): VMKitError {
  return new VMKitError('UNSUPPORTED', 'This machine has no disk that a snapshot could hold', {
    driver: DRIVER,
    vmId: id,
    capability: 'snapshot.disk',
    hint: 'Save its memory, too: { memory: true }',
  })
}

/** The guest stands still from before the disks are frozen until its memory is saved, so that the two fit. */
async function takeLive(
  host: Host,
  machine: Machine,
  qmp: Qmp,
  tag: string,
  /** Present: with its memory. */
  run: Run | undefined,
  ctx: CallContext,
): Promise<Omit<SnapshotRecord, 'format'>> {
  if (!run) {
    const { running } = await qmp.execute<{ running: boolean }>('query-status')
    const freeze = (): Promise<Frozen> => freezeLive(host, machine, qmp)
    const { layers } = running ? await quietly(host, machine, ctx.signal, freeze) : await freeze()
    return { tag, createdAt: Date.now(), disks: layers }
  }
  const { folder } = machine
  const wasRunning = await readyToMigrate(qmp)
  if (wasRunning) noteSaving(folder, run.number)
  await qmp.execute('stop')
  try {
    const version = await versionedName(qmp)
    const frozen: Frozen = await freezeLive(host, machine, qmp)
    const createdAt = Date.now()
    const template = run.isTemplate === true
    const spec = specOf(machine, run.accel)
    await saveMemory(qmp, folder.path, memoryFileOf(folder, tag), template, ctx)
    if (template) await copyMemory(folder.memory, ramFileOf(folder, tag), ctx.signal)
    return {
      tag,
      createdAt,
      disks: frozen.layers,
      spec: { ...spec, machine: { ...spec.machine, version } },
      ...(template ? { template } : {}),
    }
  } finally {
    if (wasRunning) await qmp.execute('cont')
    forgetSaving(folder)
  }
}

export async function listSnapshots({ folder }: Machine): Promise<SnapshotInfo[]> {
  return Promise.all(allSnapshots(folder).map((found) => snapshotInfo(folder, found)))
}

export async function deleteSnapshot(host: Host, { id }: Machine, tag: string, ctx: CallContext): Promise<void> {
  await withLock(host.store.get(id), 'deleteSnapshot', ctx.signal, async () => {
    const machine = host.store.get(id)
    getSnapshot(machine.folder, tag)
    removeSnapshot(machine.folder, tag)
    await dropLayers(machine)
  })
}

/** What neither the machine nor one of its snapshots stands on. */
async function dropLayers({ boot, folder }: Machine): Promise<void> {
  const tops = boot.disks.map(({ path }) => path).filter((path) => !path.includes('/'))
  const frozen = allSnapshots(folder).flatMap(({ disks }) => Object.values(disks))
  await dropUnusedLayers(folder.path, [...tops.filter((path) => path.endsWith('.qcow2')), ...frozen])
}

/** In place: the machine keeps its id. With memory it runs on from there, else it is stopped. */
export async function restore(host: Host, { id }: Machine, tag: string, ctx: CallContext): Promise<MachineRef> {
  return withLock(host.store.get(id), 'restore', ctx.signal, async (signal) => {
    const machine = host.store.get(id)
    const { folder } = machine
    const saved = getSnapshot(folder, tag)
    const { run, state } = statusOf(folder)
    if (run) await end(host, machine, run, signal)
    const before = machine.boot.disks
    const tops: Record<string, string> = {}
    for (const [disk, layer] of Object.entries(saved.disks)) tops[disk] = await addLayer(folder.path, disk, layer)
    const restored = setTops(host, machine, tops)
    try {
      if (saved.spec) await restoreMemory(host, restored, saved, saved.spec, signal)
      else if (state === 'failed') forgetRun(folder, undefined)
    } catch (error) {
      // The machine is as it was when it was stopped a moment ago.
      setTops(host, restored, Object.fromEntries(before.map((disk) => [disk.id, disk.path])))
      for (const top of Object.values(tops)) rmSync(`${folder.path}/${top}`, { force: true })
      throw error
    }
    await dropLayers(restored)
    record(host.options.stateDir, machine, { type: 'restored', tag })
    return { id }
  })
}

/** QEMU tells at once of a guest that was up when it was saved, but on a busy host; one that was not may come up meanwhile. */
const OPENS_MS = 10_000

async function restoreMemory(host: Host, machine: Machine, saved: StoredSnapshot, spec: MachineSpec, signal: AbortSignal): Promise<void> {
  const memory = openMemory(saved)
  try {
    const { path } = machine.folder
    const from: Saved = { spec, memory, ...(saved.template ? { ram: relative(path, saved.ramFile) } : {}) }
    await runFromMemory(host, machine, from, signal, () => connectTaps(host, machine, signal))
    noteJoined(machine)
    // Who is told of its neighbours must be seen to listen, which QEMU tells anew when the guest goes on.
    if (machine.attachments?.length && machine.boot.process) await untilPortOpen(machine, FIRST_EXEC_PORT, OPENS_MS, signal)
    await tellJoined(host, machine, signal)
  } finally {
    closeSync(memory)
  }
}

/** @throws VMKitError when it is gone */
export function openMemory({ memoryFile, tag }: StoredSnapshot): number {
  try {
    return openSync(memoryFile, 'r')
  } catch (error) {
    throw systemError(error, { hint: `The memory of the snapshot ${JSON.stringify(tag)} is gone` })
  }
}

/** What a machine wakes from. */
export interface Saved {
  spec: MachineSpec
  /** An open file with QEMU's stream. */
  memory: number
  /** The memory of a template, which is mapped: a path for QEMU, in the machine's folder. */
  ram?: string
}

/** Starts a machine in the middle of its life. `ready` comes before the guest goes on. */
export async function runFromMemory(
  host: Host,
  machine: Machine,
  { spec: saved, memory, ram }: Saved,
  signal: AbortSignal,
  ready?: () => Promise<void>,
): Promise<void> {
  const adapt = (spec: MachineSpec): MachineSpec => savedMachine(spec, saved, machine, ram)
  const { qmp, run } = await launchRun(host, machine, adapt, signal, [memory])
  try {
    await setCapabilities(qmp, ram === undefined ? [] : ['x-ignore-shared'])
    await qmp.execute('migrate-incoming', { uri: `fd:${FIRST_INHERITED_FD}` })
    await untilArrived(qmp, signal)
    await ready?.()
    await qmp.execute('cont', {}, { signal })
  } catch (error) {
    await end(host, machine, run, new AbortController().signal)
    throw error
  } finally {
    await qmp.close()
  }
}

/** The devices of the saved machine, with the disks and the host's side of the network of now. */
function savedMachine(spec: MachineSpec, saved: MachineSpec, machine: Machine, ram: string | undefined): MachineSpec {
  if (saved.accel !== spec.accel) {
    throw new VMKitError('UNSUPPORTED', `The memory was saved under ${saved.accel}, and this host now runs ${spec.accel}`, {
      driver: DRIVER,
      vmId: machine.id,
      capability: 'snapshot.memory',
    })
  }
  const tops = Object.fromEntries(spec.disks.map((disk) => [disk.id, disk.path]))
  return {
    ...saved,
    uuid: spec.uuid,
    disks: withTops(saved.disks, tops),
    nics: spec.nics,
    memory: ram === undefined ? saved.memory : { ...saved.memory, backend: { kind: 'file', path: ram, share: false } },
    incoming: 'defer',
  }
}
