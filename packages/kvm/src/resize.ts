/** More or less memory by the balloon, more or fewer vCPUs by hotplug, while it runs. */
import { type CallContext, type ResizeRequest, VMKitError } from '@vmkit/core/driver'
import { request } from './agent/request.js'
import { type Group, limitCpus } from './cgroups/group.js'
import { DRIVER, invalidState } from './errors.js'
import type { Host } from './host.js'
import { machineOptions } from './machine-options.js'
import type { Qmp } from './qmp/client.js'
import { command } from './qmp/command.js'
import { DEFAULT_MEMORY, vcpusOf } from './spec.js'
import { record } from './state/journal.js'
import { withLock } from './state/lock.js'
import { statusOf } from './state/run.js'
import type { Machine } from './state/store.js'

const MIB = 2 ** 20
/** How long a guest has to give back memory, or to take it; it may still boot. */
const FOLLOW_MS = 60_000
const LOOK_MS = 20

interface Slot {
  type: string
  props: Record<string, number>
  'qom-path'?: string
}

/**
 * All or nothing is not to be had from a guest: what it does not give back within the call's time is an error, and the machine's
 * config says what it has.
 * @throws VMKitError `UNSUPPORTED` naming what cannot grow, and to where
 */
export async function resize(host: Host, machine: Machine, request: ResizeRequest, ctx: CallContext): Promise<void> {
  await withLock(machine, 'resize', ctx.signal, async (signal) => {
    const { run, state } = statusOf(machine.folder)
    if (!run || (state !== 'running' && state !== 'paused')) throw invalidState(machine.id, 'resize', state)
    const current = host.store.get(machine.id)
    const { cpus, memory, pids } = request
    if (pids !== undefined && machine.boot.process === undefined)
      throw cannot(machine, 'pids', 'it runs a system of its own, which limits its processes itself')
    if (memory !== undefined) checkMemory(machine, memory, run.memory ?? current.config.memory ?? DEFAULT_MEMORY)
    if (cpus !== undefined) checkCpus(machine, cpus, run.group)
    await command(machine, signal, async (qmp) => {
      if (cpus !== undefined) await setCpus(qmp, machine, Math.ceil(cpus), signal)
      if (memory !== undefined) await setMemory(qmp, memory, state === 'running', signal)
    })
    if (cpus !== undefined && run.group) limitCpus(run.group, Math.min(cpus, machineOptions(current.config).limits?.cpus ?? cpus))
    if (pids !== undefined) await setPids(host, machine, pids, signal)
    const config = {
      ...current.config,
      ...(cpus === undefined ? {} : { cpus }),
      ...(memory === undefined ? {} : { memory }),
      ...(pids === undefined ? {} : { pids }),
    }
    host.store.update(current, { config })
    record(host.options.stateDir, machine, { type: 'resized' })
  })
}

function checkMemory(machine: Machine, memory: number, most: number): void {
  if (machineOptions(machine.config).template) throw cannot(machine, 'memory', 'it is a template, or was made from one, and has no balloon')
  if (memory > most) {
    throw cannot(
      machine,
      'memory',
      `it was started with ${most} bytes, and a balloon only gives back what it took; stop it, or start it with more`,
    )
  }
  if (memory < 16 * MIB) throw cannot(machine, 'memory', 'a guest of less than 16 MiB does not live')
}

function checkCpus(machine: Machine, cpus: number, group: Group | undefined): void {
  if (!Number.isInteger(cpus) && group?.folders.cpu === undefined) {
    throw cannot(machine, 'cpus', 'a virtual machine has whole CPUs; one that is started with a share of them has a control group for that')
  }
  const { maxCpus = vcpusOf(machine.config) } = machineOptions(machine.config)
  if (Math.ceil(cpus) > maxCpus)
    throw cannot(machine, 'cpus', `it was started for at most ${maxCpus}; driverOptions.kvm.maxCpus raises that`)
}

/** A guest that stands still follows when it goes on. */
async function setMemory(qmp: Qmp, wanted: number, follows: boolean, signal: AbortSignal): Promise<void> {
  await qmp.execute('balloon', { value: wanted })
  const limit = performance.now() + FOLLOW_MS
  while (follows) {
    const { actual } = await qmp.execute<{ actual: number }>('query-balloon', undefined, { signal })
    if (Math.abs(actual - wanted) <= MIB) return
    if (performance.now() > limit) {
      throw new VMKitError('GUEST_ERROR', `The guest did not follow within ${FOLLOW_MS} ms: it has ${actual} bytes, not ${wanted}`, {
        driver: DRIVER,
        field: 'memory',
        hint: 'It needs the driver virtio_balloon, and memory that it can spare',
      })
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
  }
}

function setPids(host: Host, machine: Machine, pids: number, signal: AbortSignal): Promise<void> {
  const records = [
    ['op', 'pids'],
    ['pids', String(pids)],
  ] as const
  return host.guests.use(machine, signal, (port) => request(port, records, signal))
}

/** Plugs what is missing. The guest must let go of what is too many. */
async function setCpus(qmp: Qmp, machine: Machine, wanted: number, signal: AbortSignal): Promise<void> {
  const slots = await qmp.execute<Slot[]>('query-hotpluggable-cpus')
  // QEMU lists the highest first.
  const ordered = slots.reverse()
  const plugged = ordered.filter((slot) => slot['qom-path'] !== undefined)
  for (const [index, slot] of ordered
    .filter((candidate) => candidate['qom-path'] === undefined)
    .slice(0, Math.max(0, wanted - plugged.length))
    .entries()) {
    await qmp.execute('device_add', { driver: slot.type, id: `cpu${plugged.length + index}`, ...slot.props }, { signal })
  }
  for (let count = plugged.length; count > wanted; count -= 1) {
    const path = plugged[count - 1]?.['qom-path'] ?? ''
    if (!path.startsWith('/machine/peripheral/')) throw cannot(machine, 'cpus', `it was started with ${count}, and those stay`)
    const removed = deviceDeleted(qmp, path)
    await qmp.execute('device_del', { id: path })
    await removed(signal)
  }
}

/** Resolves when the guest has let go of a device. */
export function deviceDeleted(qmp: Qmp, path: string): (signal: AbortSignal) => Promise<void> {
  const events = qmp.events()[Symbol.asyncIterator]()
  return async (signal) => {
    const aborted = new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }))
    try {
      for (;;) {
        const { value, done } = await Promise.race([events.next(), aborted])
        if (done) return
        if (value.event === 'DEVICE_DELETED' && (value.data.path === path || value.data.device === path)) return
        if (value.event === 'DEVICE_UNPLUG_GUEST_ERROR' && (value.data.path === path || value.data.device === path)) {
          throw new VMKitError('GUEST_ERROR', 'The guest does not let go of the device', { driver: DRIVER })
        }
      }
    } finally {
      void events.return?.()
    }
  }
}

function cannot(machine: Machine, field: string, reason: string): VMKitError {
  return new VMKitError('UNSUPPORTED', `Cannot resize \`${field}\` of this machine: ${reason}`, {
    driver: DRIVER,
    operation: 'resize',
    vmId: machine.id,
    field,
    capability: 'resize',
  })
}
