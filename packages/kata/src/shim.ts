/** Which shim containerd would run, whose it is, and which configuration file it reads. */
import { execFile } from 'node:child_process'
import { accessSync, closeSync, constants, existsSync, openSync, readSync, statSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { promisify } from 'node:util'
import { DEFAULT_PATHS } from './kata-config.js'

export type ShimKind = 'go' | 'rust' | 'foreign'

export interface ShimVersion {
  kind: ShimKind
  /** `undefined` when it does not say. */
  version?: string
}

/** containerd's rule: `io.containerd.<name>.<version>` is run as `containerd-shim-<name>-<version>`. */
export function shimBinary(runtime: string): string {
  if (isAbsolute(runtime)) return runtime
  const parts = runtime.split('.')
  return `containerd-shim-${parts.at(-2) ?? runtime}-${parts.at(-1) ?? 'v2'}`
}

/** Where Kata's own packages put it, beside the PATH of this program, which may differ from that of the daemon. */
const FOLDERS = ['/usr/local/bin', '/usr/bin', '/opt/kata/bin', '/opt/kata/runtime-rs/bin']

export function findShim(runtime: string, path = process.env.PATH ?? ''): { found?: string; tried: string[] } {
  const binary = shimBinary(runtime)
  const tried = isAbsolute(binary)
    ? [binary]
    : [...new Set([...path.split(':').filter(isAbsolute), ...FOLDERS])].map((folder) => join(folder, binary))
  return { found: tried.find(isProgram), tried }
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

const VERSION_TIMEOUT_MS = 5000

export async function shimVersion(path: string, signal: AbortSignal): Promise<ShimVersion> {
  const run = async (flag: string) => {
    const options = { timeout: VERSION_TIMEOUT_MS, signal, maxBuffer: 2 ** 16 }
    const { stdout } = await promisify(execFile)(path, [flag], options).catch(() => ({ stdout: '' }))
    return stdout
  }
  const own = parseVersion(await run('--version'))
  // The shims of containerd's own project know -v only.
  return own.version === undefined ? parseVersion(await run('-v')) : own
}

/** `Kata Containers containerd shim (Golang): id: "io.containerd.kata.v2", version: 3.28.0, commit: …`; without the language before 3.9. */
export function parseVersion(output: string): ShimVersion {
  const version = /[Vv]ersion: *v?([^\s,]+)/.exec(output)?.[1]
  const kata = /Kata Containers containerd shim *(?:\((\w+)\))?/.exec(output)
  const kind = kata ? (kata[1] === 'Rust' ? 'rust' : 'go') : 'foreign'
  return { kind, ...(version === undefined ? {} : { version }) }
}

const LONGEST_SCRIPT = 4096

/** A shim may be a script that sets `KATA_CONF_FILE` and runs the real one. */
function confFileOf(shim: string): string | undefined {
  const file = openSync(shim, 'r')
  try {
    const start = Buffer.alloc(LONGEST_SCRIPT)
    const script = start.toString('utf8', 0, readSync(file, start, 0, start.length, 0))
    return script.startsWith('#!') ? /\bKATA_CONF_FILE=["']?([^\s"';]+)/.exec(script)?.[1] : undefined
  } finally {
    closeSync(file)
  }
}

/** The configuration file that the shim takes: a wrapper's, that of the options, the first of the usual ones. */
export function findConfig(shim: string | undefined, kind: ShimKind, configPath: string | undefined): { found?: string; tried: string[] } {
  const wrapped = shim === undefined ? undefined : confFileOf(shim)
  const usual: readonly string[] = kind === 'rust' ? DEFAULT_PATHS.rust : DEFAULT_PATHS.go
  // The environment goes before the options with runtime-rs, after them with the Go shim.
  const named = kind === 'rust' ? (wrapped ?? configPath) : (configPath ?? wrapped)
  const tried = named === undefined ? [...usual] : [named]
  return { found: tried.find((path) => existsSync(path)), tried }
}
