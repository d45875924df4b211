/** Starts QEMU in a session of its own, so that it outlives the app. Its working folder is the machine's. */
import { spawn } from 'node:child_process'
import { chmodSync, closeSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { VMKitError } from '@vmkit/core/driver'
import { type Identity, identify, signalProcess } from '@vmkit/core/state-folder'
import { DRIVER } from '../errors.js'
import { connectQmp, type Qmp } from '../qmp/client.js'
import { qmpError } from '../qmp/errors.js'
import { FILES, type MachineFolder } from '../state/machine-folder.js'
import { logTail } from '../state/run.js'
import { machineArguments } from './arguments.js'
import type { QemuBinary } from './binary.js'
import type { MachineSpec } from './machine-spec.js'

export interface Launched {
  qemu: Identity
  /** A connection of its own, inherited by QEMU: nothing has to be polled, and `qmp.sock` stays free for others. Close it. */
  qmp: Qmp
}

/** vmkit's file descriptor in QEMU. */
const FIRST_QMP_FD = 3
/** The first of those that the caller hands down, such as a file with saved memory for `-incoming fd:4`. */
export const FIRST_INHERITED_FD = 4
/** A loaded host may take its time. */
const ANSWER_MS = 30_000

/**
 * Resolves when QEMU answers. `onProcess` hears of the process at once, before anything else can go wrong.
 * @throws VMKitError what QEMU said when it refused the command line; nothing runs then
 */
export async function launch(
  binary: QemuBinary,
  spec: MachineSpec,
  folder: MachineFolder,
  onProcess: (qemu: Identity) => void,
  signal: AbortSignal,
  inherited: readonly number[] = [],
): Promise<Launched> {
  signal.throwIfAborted()
  clearRun(folder)
  const log = openSync(folder.qemuLog, 'w', 0o600)
  const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env
  // Not by execa, which takes only the numbers 3 to 9 for an open file: what QEMU writes must not pass through this process.
  const child = spawn(binary.path, commandLine(binary, spec), {
    cwd: folder.path,
    env,
    detached: true,
    stdio: ['ignore', log, log, 'pipe', ...inherited],
  })
  closeSync(log)
  const ended = new Promise<string>((resolve) => {
    child.once('error', ({ message }) => resolve(message))
    child.once('exit', (code, by) => resolve(by === null ? `it exited with code ${code}` : `it was ended by ${by}`))
  })
  child.unref()
  const qemu = child.pid === undefined ? undefined : identify(child.pid)
  if (!qemu) throw failure(await ended, folder, spec)
  try {
    onProcess(qemu)
    // Node makes a socket pair of a 'pipe', which goes both ways.
    const socket = child.stdio[FIRST_QMP_FD] as unknown as Duplex
    const qmp = await connectQmp(socket, { signal, connectTimeoutMs: ANSWER_MS })
    shut(folder, spec)
    return { qemu, qmp }
  } catch (error) {
    // A QEMU that closes the line has ended, or is about to.
    const isGone = error instanceof VMKitError && error.code === 'BACKEND_UNAVAILABLE'
    if (!isGone || signal.aborted) signalProcess(qemu, 'SIGKILL')
    const how = await ended
    throw isGone && !signal.aborted ? failure(how, folder, spec) : error
  }
}

function commandLine(binary: QemuBinary, spec: MachineSpec): string[] {
  // The bridge helper is a program of its own, and set-uid.
  const spawns = spec.nics.some(({ backend }) => backend.kind === 'bridge')
  const sandbox = spawns ? 'on,obsolete=deny' : 'on,obsolete=deny,elevateprivileges=deny,spawn=deny'
  return [
    ...machineArguments(spec),
    ...['-chardev', `socket,id=first,fd=${FIRST_QMP_FD}`, '-mon', 'chardev=first,mode=control'],
    ...(binary.sandbox ? ['-sandbox', sandbox] : []),
  ]
}

/** What the run before left, and what QEMU wants to find. */
function clearRun(folder: MachineFolder): void {
  const { qmp, agent, console, main, vnc, exit, memory } = folder
  for (const path of [qmp, agent, console, main, vnc, exit, memory]) rmSync(path, { force: true })
  writeFileSync(folder.eventsInput, '{"execute":"qmp_capabilities"}\n', { mode: 0o600 })
  writeFileSync(folder.events, '', { mode: 0o600 })
}

/** QEMU answers, so its sockets and logs are there, with the permissions that the app's umask left them. */
function shut({ path }: MachineFolder, { console, channels, vnc }: MachineSpec): void {
  const names = [console, ...channels.map(({ chardev }) => chardev)].flatMap((chardev) => {
    if (chardev.kind === 'null') return []
    return chardev.kind === 'socket' && chardev.log !== undefined ? [chardev.path, chardev.log] : [chardev.path]
  })
  for (const name of [FILES.qmp, ...names, ...(vnc ? [vnc.path] : [])]) {
    try {
      chmodSync(join(path, name), 0o600)
    } catch {
      // A file system without permissions: the folder is shut all the same.
    }
  }
}

/** QEMU's own words, in the code that they mean. */
function failure(how: string, folder: MachineFolder, spec: MachineSpec): VMKitError {
  const lines = logTail(folder.qemuLog, 20)
  const errors = lines.filter((line) => !line.includes(': warning: '))
  const words = errors.at(-1)?.replace(/^\S*qemu-system-\S+: /, '') ?? how
  const details = { operation: 'start', evidence: { logTail: lines }, hint: `QEMU ran with the accelerator ${spec.accel}` }
  // In its words the rule stands behind the whole option.
  const [, protocol, host] = /host forwarding rule '(\w+):(.*:\d+)-/.exec(words) ?? []
  if (host !== undefined) {
    const forwards = spec.nics.flatMap(({ backend }) => (backend.kind === 'user' ? backend.forwards : []))
    const index = forwards.findIndex((forward) => forward.protocol === protocol && `${forward.hostIp}:${forward.host}` === host)
    return new VMKitError('CONFLICT', `The ${protocol} port ${host} of this host is taken`, {
      driver: DRIVER,
      ...details,
      field: index < 0 ? 'config.ports' : `config.ports.${index}.host`,
    })
  }
  const error = qmpError('to start', '', words, details)
  // A missing file or device is not a missing machine.
  if (error.code !== 'NOT_FOUND' && error.code !== 'ALREADY_EXISTS') return error
  return new VMKitError('BACKEND_ERROR', error.message, { driver: DRIVER, ...details })
}
