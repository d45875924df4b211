/** The networks of a machine from start to end: a network namespace, its addresses, its published ports, its names. */

import { existsSync } from 'node:fs'
import { type CallContext, type PublishedPort, VMKitError } from '@vmkit/core/driver'
import { withLock } from '@vmkit/core/state-folder'
import { hasLiveClaim } from '../claims.js'
import { TASK_STATUS } from '../grpc/enums.js'
import { type Host, listMachines, type Machine, taskOf } from '../host.js'
import { type MachineFolder, machineFolder, netnsPath } from '../state-dir.js'
import { addNetwork, deleteNetwork } from './cni.js'
import { forgetMember, joinMember } from './members.js'
import { createNetns, removeNetns } from './netns.js'
import { checkNetworks, defaultConf, requireConf } from './networks.js'
import { claimPorts, releasePorts } from './ports.js'
import { forgetNetworkState, type NetworkState, readNetworkState, writeNetworkState } from './state.js'

/** All or nothing. What is made is written down first, so that a process that dies on the way leaves a note. */
export async function connectNetworks(host: Host, machine: Machine, ctx: CallContext): Promise<void> {
  const { config } = machine.record
  if (checkNetworks(host, config) !== 'cni') return
  const { folder, uid, id } = machine
  const wanted =
    config.networks.length > 0 ? config.networks : [{ name: undefined, aliases: [] as string[], ip: undefined, mac: undefined }]
  const confs = wanted.map(({ name }, index) =>
    name === undefined ? defaultConf(host) : requireConf(host, name, `config.networks.${index}`),
  )
  const isStale = (holder: string): Promise<boolean> => releaseIfOver(host, holder, ctx)
  const ports = await claimPorts(host, { id, uid }, config.ports, isStale)
  const state: NetworkState = { netns: netnsPath(machine.record.root, uid), attachments: [], ports }
  try {
    writeNetworkState(folder.network, state)
    await createNetns(state.netns)
    for (const [index, conf] of confs.entries()) {
      const { ip, mac } = wanted[index] as (typeof wanted)[number]
      const attachment: NetworkState['attachments'][number] = {
        conf,
        ifName: `eth${index}`,
        ...(ip ? { ip } : {}),
        ...(mac ? { mac } : {}),
      }
      state.attachments.push(attachment)
      writeNetworkState(folder.network, state)
      // Ports go through the first network alone: two redirections of one port would fight.
      const result = await addNetwork(host.options.cni, conf, cniAttachment(state, uid, index), ctx.signal)
      const address = result.ips?.[0]?.address.split('/')[0]
      Object.assign(attachment, { result, ...(address === undefined ? {} : { address }) })
      writeNetworkState(folder.network, state)
    }
    joinMembers(host, machine, state)
  } catch (error) {
    if (!existsSync(folder.network)) releasePorts(host, uid, ports)
    await releaseNetworkOf(host, folder, uid)
    ctx.signal.throwIfAborted()
    throw error instanceof VMKitError ? error : VMKitError.from(error, { driver: host.driver, vmId: id })
  }
}

function joinMembers(host: Host, { record, folder, uid, name }: Machine, { attachments }: NetworkState): void {
  for (const [index, { conf, address }] of attachments.entries()) {
    if (address === undefined) continue
    joinMember(host, conf.name, { uid, address, names: [name, ...(record.config.networks[index]?.aliases ?? [])], hosts: folder.hosts })
  }
}

function cniAttachment({ netns, attachments, ports }: NetworkState, uid: string, index: number) {
  const { ifName, ip, mac } = attachments[index] as NetworkState['attachments'][number]
  return { containerId: `vmkit-${uid}`, netns, ifName, ports: index === 0 ? ports : ([] as PublishedPort[]), ip, mac }
}

export async function releaseNetworks(host: Host, { folder, uid }: Pick<Machine, 'folder' | 'uid'>): Promise<void> {
  await releaseNetworkOf(host, folder, uid)
}

/** Gives everything back that the note in the folder names. Harmless without one. */
export async function releaseNetworkOf(host: Host, folder: MachineFolder, uid: string): Promise<void> {
  const state = readNetworkState(folder.network)
  if (!state) return
  for (const [index, { conf, result }] of state.attachments.entries()) {
    forgetMember(host, conf.name, uid)
    // A plugin that fails here has lost what it made, as after a reboot; the namespace goes in any case.
    await deleteNetwork(host.options.cni, conf, cniAttachment(state, uid, index), result)
  }
  await removeNetns(state.netns)
  releasePorts(host, uid, state.ports)
  forgetNetworkState(folder.network)
}

/** A machine that ended by itself keeps its ports until somebody wants them. */
export async function releaseIfOver(host: Host, uid: string, ctx: CallContext): Promise<boolean> {
  const machine = (await listMachines(host, ctx)).find((candidate) => candidate.uid === uid)
  if (!machine) return !existsSync(machineFolder(host.root, uid).path)
  const { id, folder, containerId } = machine
  // Somebody works on it, maybe its start, which has its networks before its task: then it wants its ports.
  if (!existsSync(folder.path) || hasLiveClaim(folder.path)) return false
  // Two that start at the same moment do not wait for each other here: each has a claim on its own folder, which the other one sees.
  return withLock({ id, folder: folder.path }, 'release', ctx.signal, async () => {
    const task = await taskOf(host, containerId, ctx)
    if (task ? task.status !== TASK_STATUS.stopped : !existsSync(folder.network)) return false
    await releaseNetworks(host, machine)
    return true
  })
}
