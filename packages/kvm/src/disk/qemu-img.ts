/** `qemu-img`, for what needs the whole image. Never on a disk that a live QEMU holds: QEMU's own lock refuses that as `CONFLICT`. */
import { resolve } from 'node:path'
import { VMKitError } from '@vmkit/core/driver'
import { errno } from '@vmkit/core/state-folder'
import { abortReason, DRIVER } from '../errors.js'
import { qmpError } from '../qmp/errors.js'

const TAIL = 2000

async function qemuImg(args: readonly string[], signal: AbortSignal): Promise<string> {
  const { execa } = await import('execa')
  const { NODE_EXTRA_CA_CERTS: _unused, ...env } = process.env
  const result = await execa('qemu-img', args, {
    reject: false,
    stdin: 'ignore',
    cancelSignal: signal,
    forceKillAfterDelay: 500,
    extendEnv: false,
    env: { ...env, LC_ALL: 'C' },
  })
  if (signal.aborted) throw abortReason(signal)
  if (errno(result.cause) === 'ENOENT' || result.code === 'ENOENT')
    throw new VMKitError('BACKEND_UNAVAILABLE', 'qemu-img is not installed', { driver: DRIVER, hint: 'Install the package qemu-utils' })
  if (result.failed) throw qmpError(`qemu-img ${args[0]}`, '', result.stderr.slice(-TAIL).trim() || String(result.shortMessage))
  return result.stdout
}

/** A file name as qemu-img takes it, whatever characters it has. */
function fileOf(path: string, format: string): string {
  return `json:${JSON.stringify({ driver: format, file: { driver: 'file', filename: path } })}`
}

/** All that `from` and its backing files hold, in one qcow2 of its own. `to` is an absolute path: in those no character means anything. */
export async function flatten(
  from: { path: string; format: 'qcow2' | 'raw' },
  to: string,
  options: { compress?: boolean },
  signal: AbortSignal,
): Promise<void> {
  await qemuImg(['convert', ...(options.compress ? ['-c'] : []), '-O', 'qcow2', fileOf(from.path, from.format), resolve(to)], signal)
}

export interface ChainEntry {
  path: string
  format: string
  virtualSize: number
  actualSize: number
}

/** The image and what it stands on, top first. Only reads, so it may look at a disk in use. */
export async function backingChain(path: string, format: string, signal: AbortSignal): Promise<ChainEntry[]> {
  const text = await qemuImg(['info', '-U', '--backing-chain', '--output=json', fileOf(path, format)], signal)
  const entries = JSON.parse(text) as { filename: string; format: string; 'virtual-size': number; 'actual-size': number }[]
  return entries.map((entry) => ({
    path: entry.filename,
    format: entry.format,
    virtualSize: entry['virtual-size'],
    actualSize: entry['actual-size'],
  }))
}
