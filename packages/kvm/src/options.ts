import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { invalidConfig, lazily, validate } from '@vmkit/core/driver'
import * as z from '@vmkit/core/schema'
import { DRIVER } from './name.js'
import { checkStateDir } from './state/machine-folder.js'

export interface KvmOptions {
  /** Folder that holds the machines. Default: `/var/lib/vmkit/kvm` for root, else `$XDG_STATE_HOME/vmkit/kvm` or
   * `~/.local/state/vmkit/kvm`. At most 72 bytes, because of the sockets in it. */
  stateDir?: string
  /** QEMU: a path, or a name to look for in PATH. Default `qemu-system-x86_64`. */
  binary?: string
  /** Default of machines that do not say. `auto`: KVM where it truly runs guests, else TCG. Default `auto`. */
  accel?: 'auto' | 'kvm' | 'tcg'
  /** Folder for what is made once and used by many machines: guest kernel, unpacked images. Default:
   * `$XDG_CACHE_HOME/vmkit` or `~/.cache/vmkit`. Machines need it as long as they are there. */
  cacheDir?: string
  /** A cached disk, or guest kernel, that no create used for so many days is removed when another is made, or looked for. Default 30. */
  cacheKeepDays?: number
  /** Private range of which named networks take a /24 each that no route of the host reaches into. Default `10.86.0.0/16`. */
  subnet?: string
  migration?: MigrationOptions
}

/** How machines move. The target decides about transport and TLS, the source about the rest. */
export interface MigrationOptions {
  /** Address of this host at which sources reach it over TCP; a free port is taken. Default: UNIX sockets, for sources on this host. */
  host?: string
  /** Folder with certificates, named as QEMU's `tls-creds-x509` wants them. Put a `dh-params.pem`
   * with them, else QEMU makes one at every start, which takes many seconds. Needs `host` on the target. */
  tls?: string
  /** `auto`: where both state folders are on one file system, the disks are shared by hard links. `copy`: always sent. Default `auto`. */
  storage?: 'auto' | 'copy'
  /** Bytes a second for memory and disks. Default: as fast as it goes. */
  bandwidth?: number
  /** The guest may stand still so long for the last round of memory. Default 30. */
  downtimeLimitMs?: number
  /** The guest goes on at the target after one round and fetches the rest when it needs it. From then on a failure loses it. Default false. */
  postCopy?: boolean
}

export interface ResolvedOptions {
  stateDir: string
  binary: string
  accel: 'auto' | 'kvm' | 'tcg'
  cacheDir: string
  cacheKeepDays: number
  subnet: string
  migration: MigrationOptions
}

const schema = lazily(() => {
  const text = z.string('a path').check(z.refine((value) => value !== '' && !value.includes('\0'), 'a path'))
  const amount = z.optional(z.number().check(z.refine((value) => Number.isSafeInteger(value) && value > 0, 'a whole number above 0')))
  return z.strictObject({
    stateDir: z.optional(text),
    binary: z.optional(text),
    accel: z.optional(z.enum(['auto', 'kvm', 'tcg'])),
    cacheDir: z.optional(text),
    cacheKeepDays: amount,
    subnet: z.optional(z.string().check(z.refine(isRange, 'a range of IPv4 addresses such as 10.86.0.0/16'))),
    migration: z.optional(
      z.strictObject({
        host: z.optional(text),
        tls: z.optional(text),
        storage: z.optional(z.enum(['auto', 'copy'])),
        bandwidth: amount,
        downtimeLimitMs: amount,
        postCopy: z.optional(z.boolean()),
      }),
    ),
  })
})

function isRange(value: string): boolean {
  const [, first, second] = /^([1-9]\d{0,2})\.(\d{1,3})\.0\.0\/16$/.exec(value) ?? []
  return Number(first) < 224 && Number(second) < 256
}

/** @throws VMKitError `INVALID_CONFIG` naming the option */
export function resolveOptions(options: KvmOptions): ResolvedOptions {
  const given = validate(schema(), options, { root: 'options', driver: DRIVER })
  const {
    stateDir = defaultStateDir(),
    binary = 'qemu-system-x86_64',
    accel = 'auto',
    cacheKeepDays = 30,
    subnet = '10.86.0.0/16',
    migration = {},
  } = given
  const cacheDir = given.cacheDir ?? defaultCacheDir()
  for (const [name, path] of Object.entries({ stateDir, cacheDir })) {
    if (!isAbsolute(path)) throw invalidConfig(`options.${name}`, 'an absolute path', path, { driver: DRIVER })
  }
  checkStateDir(stateDir)
  return { stateDir, binary, accel, cacheDir, cacheKeepDays, subnet, migration }
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
