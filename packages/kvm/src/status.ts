import { type CallContext, type VMInfo, VMKitError, type VMSummary } from '@vmkit/core/driver'
import type { GuestInfo } from './about/guest-info.js'
import { DRIVER } from './errors.js'
import type { Host } from './host.js'
import { machineOptions } from './machine-options.js'
import { missingOf } from './missing.js'
import { tapsOf } from './net/attach.js'
import { type RunStatus, statusOf } from './state/run.js'
import type { Machine } from './state/store.js'

export function summaryOf(machine: Machine, { state }: Pick<RunStatus, 'state'> = statusOf(machine.folder)): VMSummary {
  const { id, name, createdAt, config } = machine
  return { id, name, driver: DRIVER, state, labels: config.labels, createdAt }
}

/** What its files tell, and what its guest tells of itself where somebody answers there. */
export async function infoOf(host: Host, machine: Machine, { signal }: Pick<CallContext, 'signal'>): Promise<VMInfo> {
  const { attachments = [] } = machine
  const { run, ...status } = statusOf(machine.folder)
  const { guest, why } = status.state === 'running' ? await told(host, machine, signal) : { guest: null, why: `it is ${status.state}` }
  const missing = missingOf(machine)
  const isLive = status.state === 'running' || status.state === 'paused' || status.state === 'stopping'
  return {
    ...summaryOf(machine, status),
    ...status,
    config: machine.config,
    addresses: isLive ? await addressesOf(machine, guest) : [],
    ports: isLive && run ? run.ports : machine.config.ports,
    startedAt: run && status.state !== 'created' ? run.startedAt : null,
    pid: isLive ? (run?.qemu?.pid ?? null) : null,
    ...(missing ? { missing } : {}),
    details: {
      folder: machine.folder.path,
      uuid: machine.uuid,
      macs: machine.macs,
      ...(attachments.length > 0 ? { networks: attachments.map((one, index) => ({ ...one, interface: tapsOf(machine)[index] })) } : {}),
      boot: machine.boot.kind,
      ...(run ? { accel: run.accel, ...run.details } : {}),
      guest,
      ...(why === undefined ? {} : { 'guest unknown because': why }),
    },
  }
}

async function told(host: Host, machine: Machine, signal: AbortSignal): Promise<{ guest: GuestInfo | null; why?: string }> {
  try {
    const { askGuest } = await import('./about/ask-guest.js')
    return { guest: await askGuest(host, machine, signal) }
  } catch (error) {
    if (signal.aborted) throw error
    return { guest: null, why: VMKitError.from(error).message }
  }
}

/** Those that the host reaches: PID 1 of the vmkit guest has set them, any other guest tells what it has. The user-mode network is reached by its published ports only. */
async function addressesOf(machine: Machine, guest: GuestInfo | null): Promise<string[]> {
  const { attachments = [] } = machine
  const given = machine.boot.process ? attachments.map(({ address }) => address) : []
  if (!guest || (given.length === attachments.length && !isOutside(machine))) return given
  const macs = attachments.map(({ mac }) => mac)
  const seen = isOutside(machine)
    ? guest.interfaces
    : guest.interfaces.filter(({ mac }) => mac !== null && macs.includes(mac.toLowerCase()))
  return [...new Set([...given, ...(await import('./about/guest-info.js')).reachable({ ...guest, interfaces: seen })])]
}

/** On a network of the host's. */
function isOutside({ config }: Machine): boolean {
  const { network } = machineOptions(config)
  return network !== undefined && network.kind !== 'user' && network.kind !== 'none'
}
