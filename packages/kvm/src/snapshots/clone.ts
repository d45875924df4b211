/** New machines from a snapshot: the layers are shared by hard links, the memory is read from the snapshot's file. */
import { closeSync, rmSync } from 'node:fs'
import { link } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { type CallContext, type CloneRequest, type MachineConfig, type MachineRef, VMKitError } from '@vmkit/core/driver'
import { changeIdentity } from '../agent/identity.js'
import { copyVariables } from '../boot/firmware.js'
import { renameInitrd } from '../boot/rename-initrd.js'
import { addLayer, shareLayers } from '../disk/layers.js'
import { withTops } from '../disk/own-disks.js'
import { abortReason, DRIVER, systemError } from '../errors.js'
import type { Host } from '../host.js'
import { endUnseen } from '../lifecycle.js'
import { machineOptions } from '../machine-options.js'
import { missingOf } from '../missing.js'
import { claimAddresses, connectTaps, releaseAddresses, withoutAddresses } from '../net/attach.js'
import { noteJoined, tellJoined } from '../net/names.js'
import { nicRecords } from '../net/start-initrd.js'
import type { BootPlan } from '../qemu/machine-spec.js'
import { record } from '../state/journal.js'
import { withLock } from '../state/lock.js'
import { FILES, type MachineFolder } from '../state/machine-folder.js'
import { type Machine, type MachineRecord, newIdentity, newMac } from '../state/store.js'
import { getSnapshot, type StoredSnapshot } from './records.js'
import { openMemory, runFromMemory } from './snapshots.js'

/** It is there: what is left to do cannot fail it any more. */
const NEVER = new AbortController().signal

export async function clone(host: Host, { id }: Machine, request: CloneRequest, ctx: CallContext): Promise<MachineRef> {
  const { signal } = ctx
  const { store } = host
  store.cleanUp()
  const identity = newIdentity()
  const folder = store.prepare(identity.id, request.name)
  let memory: number | undefined
  let claimed: Pick<MachineRecord, 'id' | 'config'> | undefined
  try {
    const { source, saved, boot } = await withLock(store.get(id), 'clone', signal, async () => {
      const found = store.get(id)
      const snapshot = getSnapshot(found.folder, request.tag)
      refuseWithoutAgent(found, snapshot)
      // From here on the clone has a hold of its own on all that it needs of the snapshot.
      if (snapshot.spec) memory = openMemory(snapshot)
      if (snapshot.template) await link(snapshot.ramFile, folder.mapped)
      return { source: found, saved: snapshot, boot: await shareFiles(found, snapshot, folder, request.name) }
    })
    signal.throwIfAborted()
    const config = clonedConfig(source, request)
    claimed = { id: identity.id, config }
    const attachments = await claimAddresses(host, identity.id, config, signal)
    const made: MachineRecord = {
      ...identity,
      name: request.name,
      createdAt: Date.now(),
      config,
      boot,
      macs: source.macs.map(() => newMac()),
      attachments,
    }
    const machine: Machine = { ...made, folder }
    if (memory !== undefined && saved.spec) {
      await runFromMemory(host, machine, { spec: saved.spec, memory, ...(saved.template ? { ram: FILES.mapped } : {}) }, signal)
      // Its QEMU has it open.
      rmSync(folder.mapped, { force: true })
      const [from, to] = [macsOf(source), macsOf(machine)]
      const macs = from.map((mac, index) => ({ from: mac, to: to[index] as string }))
      // Until then nobody in its networks hears it: it believes that it is its origin.
      await changeIdentity(machine, { hostname: machine.name, macs, nics: nicRecords(attachments) }, signal)
      await connectTaps(host, machine, signal)
    }
    store.appear(made)
    record(host.options.stateDir, machine, { type: 'created' })
    if (memory !== undefined) {
      noteJoined(machine)
      await tellJoined(host, machine, NEVER)
    }
    const missing = missingOf(machine)
    return { id: machine.id, ...(missing ? { missing } : {}) }
  } catch (error) {
    await endUnseen(folder)
    store.abandon(identity.id)
    if (claimed) releaseAddresses(host, claimed)
    throw signal.aborted ? abortReason(signal) : systemError(error, { operation: 'clone' })
  } finally {
    if (memory !== undefined) closeSync(memory)
  }
}

/** What the memory believes of itself can only be changed from within. */
function refuseWithoutAgent({ id, boot }: Machine, { spec }: StoredSnapshot): void {
  if (!spec || boot.process !== undefined) return
  throw new VMKitError(
    'UNSUPPORTED',
    'A clone from memory needs an agent in the guest, which gives it a name, addresses and randomness of its own',
    {
      driver: DRIVER,
      vmId: id,
      capability: 'clone.memory',
      hint: 'Clone a snapshot of the disk, or restore this one in place',
    },
  )
}

function clonedConfig({ config }: Machine, { name, labels }: CloneRequest): MachineConfig {
  const { ttl: _ttl, ...lasting } = config
  const own = Object.fromEntries(Object.entries(config.labels).filter(([key]) => !key.startsWith('vmkit.')))
  return { ...lasting, name, labels: { ...own, ...labels }, networks: withoutAddresses(config.networks) }
}

/** Of all NICs that the guest has. */
function macsOf({ config, macs, attachments = [] }: Machine): string[] {
  const isOnlyNamed = machineOptions(config).network?.kind === 'none'
  return [...(isOnlyNamed ? [] : macs), ...attachments.map(({ mac }) => mac)]
}

/** Layers by hard links, under a top of the clone's own; what is only read by a link, too. */
async function shareFiles({ folder: from, boot }: Machine, saved: StoredSnapshot, to: MachineFolder, name: string): Promise<BootPlan> {
  const tops: Record<string, string> = {}
  for (const [disk, layer] of Object.entries(saved.disks)) {
    await shareLayers(from.path, layer, to.path)
    tops[disk] = await addLayer(to.path, disk, layer)
  }
  const { kernel, disks } = boot
  const read = disks.filter(({ id }) => !(id in tops)).map(({ path }) => path)
  for (const file of [...read, kernel?.path, kernel?.initrd]) {
    if (file === undefined || isAbsolute(file)) continue
    if (file === FILES.initrd && boot.process !== undefined) await renameInitrd(join(from.path, file), join(to.path, file), name)
    else await link(join(from.path, file), join(to.path, file))
  }
  await copyVariables(boot, from.path, to.path)
  return { ...boot, disks: withTops(disks, tops) }
}
