/**
 * Machines of one network find each other by name and alias, in the `/etc/hosts` of vmkit guests: written for the one that starts into
 * what it boots from, and through the guest's agent for those that run. There is no name server.
 */
import { existsSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { type CallContext, limitOf, VMKitError } from '@vmkit/core/driver'
import { errno } from '@vmkit/core/state-folder'
import { guestFiles } from '../agent/files.js'
import { isPortOpen } from '../agent/port-open.js'
import { FIRST_EXEC_PORT } from '../boot/channels.js'
import type { Host } from '../host.js'
import { statusOf } from '../state/run.js'
import type { Machine } from '../state/store.js'
import { type Named, withMachines } from './hosts-file.js'
import { members } from './networks.js'

const HOSTS = '/etc/hosts'
/** A guest that answers takes milliseconds; under emulation on a busy host seconds. One that does not is told when it is next looked at. */
const ANSWER_MS = 10_000

/** Of all its networks, itself first. */
export function machinesNear(host: Host, machine: Machine): Named[] {
  const { attachments = [] } = machine
  return attachments.flatMap(({ network, address }) => [
    { address, names: namesIn(machine, network) },
    ...members(host, network).flatMap(({ id, address: other }) => {
      const neighbour = id === machine.id ? undefined : running(host, id)
      return neighbour ? [{ address: other, names: namesIn(neighbour, network) }] : []
    }),
  ])
}

function namesIn({ name, config }: Machine, network: string): string[] {
  return [name, ...(config.networks.find((joined) => joined.name === network)?.aliases ?? [])]
}

/** `undefined` when it does not run, or is not there yet. */
function running(host: Host, id: string): Machine | undefined {
  try {
    const machine = host.store.get(id)
    const { state } = statusOf(machine.folder)
    return state === 'running' || state === 'paused' || state === 'stopping' ? machine : undefined
  } catch (error) {
    if (error instanceof VMKitError && error.code === 'NOT_FOUND') return undefined
    throw error
  }
}

/** It runs in its networks, and its neighbours are to know. Until then nobody tells of its end. */
export function noteJoined({ folder, attachments = [] }: Machine): void {
  if (attachments.length > 0) writeFileSync(folder.joined, '', { mode: 0o600 })
}

/** A new run has not joined yet. */
export function forgetJoined({ folder, attachments = [] }: Machine): void {
  if (attachments.length > 0) rmSync(folder.joined, { force: true })
}

/** Whether its end is still to be told. */
export function hasJoined({ folder, attachments = [] }: Machine): boolean {
  return attachments.length > 0 && existsSync(folder.joined)
}

/** After its end, which only one of several that see it tells. */
export async function tellLeft(host: Host, machine: Machine, signal: AbortSignal): Promise<void> {
  if (!machine.attachments?.length) return
  try {
    unlinkSync(machine.folder.joined)
  } catch (error) {
    if (errno(error) === 'ENOENT') return
    throw error
  }
  await tellJoined(host, machine, signal)
}

/** It and its neighbours are told who runs now. Never fails, but by an abort. */
export async function tellJoined(host: Host, machine: Machine, signal: AbortSignal): Promise<void> {
  const networks = (machine.attachments ?? []).map(({ network }) => network)
  if (networks.length === 0) return
  using limit = limitOf(signal, ANSWER_MS)
  const ids = new Set([machine.id, ...networks.flatMap((network) => members(host, network).map(({ id }) => id))])
  const told = [...ids].flatMap((id) => running(host, id) ?? []).filter(canBeTold)
  await Promise.all(told.map((other) => write(host, other, limit.signal).catch(() => {})))
  signal.throwIfAborted()
}

/** Its agent is up and hears. One that still boots is told by whoever starts it. */
function canBeTold({ boot, folder }: Machine): boolean {
  if (boot.process === undefined || statusOf(folder).state !== 'running') return false
  return isPortOpen({ boot, folder }, FIRST_EXEC_PORT)
}

/** Others may write at the same moment: whoever does so last has looked after it that nothing changed. */
async function write(host: Host, machine: Machine, signal: AbortSignal): Promise<void> {
  const files = guestFiles(host)
  const ctx: CallContext = { signal, deadline: undefined, report() {} }
  let near = machinesNear(host, machine)
  for (let written = ''; written !== JSON.stringify(near); near = machinesNear(host, machine)) {
    written = JSON.stringify(near)
    const text = await read(files.read(machine.id, HOSTS, ctx))
    const wanted = withMachines(text, near)
    if (wanted !== text) await files.write(machine.id, HOSTS, once(Buffer.from(wanted)), {}, ctx)
  }
}

async function read(content: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = []
  try {
    for await (const part of content) parts.push(part)
  } catch (error) {
    // An image without one.
    if (!(error instanceof VMKitError && error.code === 'NOT_FOUND')) throw error
  }
  return Buffer.concat(parts).toString('utf8')
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
