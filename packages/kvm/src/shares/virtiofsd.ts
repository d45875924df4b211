/** Which virtiofsd there is, and what it can. */
import { statSync } from 'node:fs'
import { findProgram } from '../qemu/binary.js'

export interface Virtiofsd {
  path: string
  /** The one of QEMU's own sources, up to QEMU 7.2; else the one in Rust that took its place. */
  isLegacy: boolean
  /** It refuses writes itself. */
  readOnly: boolean
}

/** Debian 13 and Fedora, Debian 12, Arch; then PATH. */
const PLACES = ['/usr/libexec/virtiofsd', '/usr/lib/qemu/virtiofsd', '/usr/lib/virtiofsd', 'virtiofsd']

const known = new Map<string, Virtiofsd>()

/** @returns a program, or why there is none that would do */
export async function findVirtiofsd(): Promise<Virtiofsd | string> {
  const path = PLACES.map((place) => findProgram(place)).find((found) => found !== undefined)
  if (path === undefined) return 'there is no virtiofsd on this host (Debian 12: qemu-system-common; later: virtiofsd)'
  const { mtimeMs, ino } = statSync(path)
  const key = `${path} ${ino} ${mtimeMs}`
  const found = known.get(key) ?? (await inspect(path))
  if (typeof found === 'string') return found
  known.set(key, found)
  return process.getuid?.() === 0 ? found : `${path} serves folders for root only, with the owners that the guest asks for`
}

async function inspect(path: string): Promise<Virtiofsd | string> {
  const { execa } = await import('execa')
  const ask = async (flag: string): Promise<string> => {
    const { stdout, stderr } = await execa(path, [flag], { reject: false, stdin: 'ignore', timeout: 10_000 })
    return `${stdout}\n${stderr}`
  }
  // "virtiofsd version 7.2.22 (…)" and "virtiofsd 1.13.0"; both tell their options by --help.
  const version = /virtiofsd (version )?(backend )?\d+\.\d+/.exec(await ask('--version'))
  if (!version) return `${path} does not tell its version`
  const help = await ask('--help')
  return { path, isLegacy: !help.includes('--shared-dir'), readOnly: help.includes('--readonly') }
}

export interface Served {
  socket: string
  source: string
  readOnly: boolean
}

/** Pure. */
export function virtiofsdArguments({ isLegacy }: Virtiofsd, { socket, source, readOnly }: Served): string[] {
  if (!isLegacy) return [`--socket-path=${socket}`, `--shared-dir=${source}`, ...(readOnly ? ['--readonly'] : [])]
  // A comma ends an option of libfuse, unless a backslash stands before it (fuse_opt.h).
  return [`--socket-path=${socket}`, '-o', `source=${source.replace(/[\\,]/g, '\\$&')}`]
}
