import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { invalidConfig, lazily, validate } from '@vmkit/core/driver'
import * as z from '@vmkit/core/schema'
import { DRIVER } from './errors.js'
import { checkStateDir } from './state/machine-folder.js'

export interface KvmOptions {
  /** Folder that holds the machines. Default: `/var/lib/vmkit/kvm` for root, else `$XDG_STATE_HOME/vmkit/kvm` or
   * `~/.local/state/vmkit/kvm`. At most 71 bytes, because of the sockets in it. */
  stateDir?: string
  /** QEMU: a path, or a name to look for in PATH. Default `qemu-system-x86_64`. */
  binary?: string
  /** Default of machines that do not say. `auto`: KVM where it truly runs guests, else TCG. Default `auto`. */
  accel?: 'auto' | 'kvm' | 'tcg'
  /** Folder for what is made once and used by many machines: guest kernel, unpacked images. Default:
   * `$XDG_CACHE_HOME/vmkit` or `~/.cache/vmkit`. Machines need it as long as they are there. */
  cacheDir?: string
}

export interface ResolvedOptions {
  stateDir: string
  binary: string
  accel: 'auto' | 'kvm' | 'tcg'
  cacheDir: string
}

const schema = lazily(() => {
  const text = z.string('a path').check(z.refine((value) => value !== '' && !value.includes('\0'), 'a path'))
  return z.strictObject({
    stateDir: z.optional(text),
    binary: z.optional(text),
    accel: z.optional(z.enum(['auto', 'kvm', 'tcg'])),
    cacheDir: z.optional(text),
  })
})

/** @throws VMKitError `INVALID_CONFIG` naming the option */
export function resolveOptions(options: KvmOptions): ResolvedOptions {
  const given = validate(schema(), options, { root: 'options', driver: DRIVER })
  const { stateDir = defaultStateDir(), binary = 'qemu-system-x86_64', accel = 'auto' } = given
  const cacheDir = given.cacheDir ?? defaultCacheDir()
  for (const [name, path] of Object.entries({ stateDir, cacheDir })) {
    if (!isAbsolute(path)) throw invalidConfig(`options.${name}`, 'an absolute path', path, { driver: DRIVER })
  }
  checkStateDir(stateDir)
  return { stateDir, binary, accel, cacheDir }
}

function defaultStateDir(): string {
  if (process.getuid?.() === 0) return '/var/lib/vmkit/kvm'
  const base = process.env.XDG_STATE_HOME
  return join(base && isAbsolute(base) ? base : join(homedir(), '.local', 'state'), 'vmkit', 'kvm')
}

function defaultCacheDir(): string {
  const base = process.env.XDG_CACHE_HOME
  return join(base && isAbsolute(base) ? base : join(homedir(), '.cache'), 'vmkit')
}
