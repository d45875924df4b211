/**
 * The processes that serve folders of the host to one machine by virtiofs, one for each folder. Each waits for its QEMU, serves it alone,
 * and ends when that connection does; so that none stays behind, whatever ends QEMU.
 */
import { spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { limitOf, VMKitError } from '@vmkit/core/driver'
import { type Identity, identify, isAlive, signalProcess, untilChange } from '@vmkit/core/state-folder'
import { abortReason, DRIVER } from '../errors.js'
import type { MachineSpec, ShareSpec } from '../qemu/machine-spec.js'
import type { MachineFolder } from '../state/machine-folder.js'
import { isGroupAlive, processesWithArgument } from '../state/proc.js'
import { logTail } from '../state/run.js'
import { findVirtiofsd, virtiofsdArguments } from './virtiofsd.js'

const LISTENS_MS = 10_000
const POLL_MS = 10
/** A daemon ends with its QEMU, by itself; one that hangs does not. */
const ENDS_MS = 2000
/** One that is killed is gone at once, but on a host that does not come to it. */
const KILLED_MS = 10_000

type Served = ShareSpec & { socket: string }

const servedOf = ({ shares }: Pick<MachineSpec, 'shares'>): Served[] =>
  shares.filter((share): share is Served => share.socket !== undefined)

/**
 * Resolves when all of them listen; after a failure none runs. `onDaemon` hears of each at once, before anything else can go wrong.
 * @throws VMKitError with the words of the one that ended
 */
export async function startDaemons(
  folder: MachineFolder,
  spec: Pick<MachineSpec, 'shares'>,
  onDaemon: (daemon: Identity) => void,
  signal: AbortSignal,
): Promise<void> {
  const served = servedOf(spec)
  if (served.length === 0) return
  const program = await findVirtiofsd()
  if (typeof program === 'string') throw new VMKitError('UNSUPPORTED', `virtiofs: ${program}`, { driver: DRIVER, operation: 'start' })
  using limit = limitOf(signal, LISTENS_MS)
  const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env
  for (const share of served) {
    const socket = join(folder.path, share.socket)
    const logFile = `${socket}.log`
    rmSync(socket, { force: true })
    const log = openSync(logFile, 'w', 0o600)
    const source = resolve(folder.path, share.source)
    // In a session of its own, whose group is what is ended: it forks into namespaces of its own.
    const child = spawn(program.path, virtiofsdArguments(program, { ...share, socket, source }), {
      cwd: folder.path,
      env,
      detached: true,
      stdio: ['ignore', log, log],
    })
    closeSync(log)
    child.on('error', () => {})
    child.unref()
    const daemon = child.pid === undefined ? undefined : identify(child.pid)
    if (daemon) onDaemon(daemon)
    const listens = await untilChange(folder.path, limit.signal, POLL_MS, () =>
      isListening(socket) ? true : daemon && isAlive(daemon) ? undefined : false,
    ).catch((error: unknown) => {
      if (signal.aborted) throw abortReason(signal)
      if (!limit.isOver()) throw error
      return false
    })
    if (!listens) {
      const lines = logTail(logFile, 20)
      throw new VMKitError('BACKEND_ERROR', `virtiofsd does not serve ${source}: ${lines.at(-1) ?? 'it gave no reason'}`, {
        driver: DRIVER,
        operation: 'start',
        evidence: { logTail: lines },
      })
    }
  }
}

/** A connection before that would be refused, although the socket is there. proc(5): the flag says that it accepts connections. */
function isListening(path: string): boolean {
  return readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .some((line) => line.endsWith(` ${path}`) && line.split(/\s+/)[3] === '00010000')
}

/** Resolves when none is left. Their QEMU must be gone, unless `now`. */
export async function endDaemons(folder: MachineFolder, daemons: readonly Identity[] = [], now = false): Promise<void> {
  if (daemons.length === 0) return
  if (!now) await until(folder, ENDS_MS, () => !daemons.some(isAlive))
  await kill(folder, daemons)
}

/** Of an app that died before it wrote down what it had started. Resolves when none is left. */
export async function endUnknownDaemons(folder: MachineFolder, spec: Pick<MachineSpec, 'shares'>): Promise<void> {
  await kill(
    folder,
    servedOf(spec).flatMap(({ socket }) => processesWithArgument(`--socket-path=${join(folder.path, socket)}`)),
  )
}

/** With all that they forked, which may outlive them by a moment. */
async function kill(folder: MachineFolder, daemons: readonly Identity[]): Promise<void> {
  const left = daemons.filter(isAlive)
  for (const daemon of left) {
    try {
      process.kill(-daemon.pid, 'SIGKILL')
    } catch {
      // It has ended, or is itself one that was forked.
    }
    signalProcess(daemon, 'SIGKILL')
  }
  await until(folder, KILLED_MS, () => !left.some((daemon) => isAlive(daemon) || isGroupAlive(daemon.pid)))
}

async function until(folder: MachineFolder, ms: number, isSo: () => boolean): Promise<void> {
  using limit = limitOf(undefined, ms)
  await untilChange(folder.path, limit.signal, POLL_MS, () => (isSo() ? true : undefined)).catch(() => {})
}
