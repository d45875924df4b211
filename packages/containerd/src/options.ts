import { lazily, validate } from '@vmkit/core/driver'
import * as z from '@vmkit/core/schema'
import { IDENTIFIER } from './identifier.js'

export interface ContainerdRegistryAuth {
  username?: string
  password?: string
  /** An identity token instead of user and password. */
  identityToken?: string
}

/** How the driver reaches containerd, and what its machines run on. */
export interface ContainerdOptions {
  /** UNIX socket. Default `/run/containerd/containerd.sock`. */
  socketPath?: string
  /** containerd's own partition of everything; made when missing. Default `vmkit`. */
  namespace?: string
  /** Default: the one the daemon prefers, which is `overlayfs` nearly everywhere. */
  snapshotter?: string
  /** A name such as `io.containerd.runc.v2`, `runc`, `crun`, or the absolute path of a shim. Default `io.containerd.runc.v2`. */
  runtime?: string
  /** Logs, FIFOs, network namespaces and volumes. Default `/var/lib/vmkit/containerd`. Only its owner may read it. */
  stateDir?: string
  /** Where the network plugins and the networks of this host are. */
  cni?: {
    /** Default: `/opt/cni/bin`, `/usr/lib/cni`, `/usr/libexec/cni`. */
    binDirs?: readonly string[]
    /** Networks that others have configured, joined by their name. Default `/etc/cni/net.d`. */
    confDir?: string
    /** Private range from which networks of vmkit take a /24 each. Default `10.87.0.0/16`. */
    subnet?: string
  }
  logs?: {
    /** `files`: two plain files, one per stream. `timestamps`: a small logger writes the time of each line. Default `files`. */
    mode?: 'files' | 'timestamps'
    /** Bytes per stream after which the oldest are dropped, while an app with this driver runs. Default 64 MiB; 0: no cap. */
    maxBytes?: number
  }
  /** Credentials by registry host, before those of the Docker config file. */
  registries?: Readonly<Record<string, ContainerdRegistryAuth>>
  /** Hosts that are asked over plain HTTP. Loopback always may be. */
  insecureRegistries?: readonly string[]
  /**
   * Who fetches layers. `transfer`: containerd's Transfer service, and an error where it cannot; `client`: this driver; `auto` (default):
   * the service where containerd 2 has it, and this driver where it has not or breaks off. The probe tells who and why.
   */
  pullBy?: 'auto' | 'client' | 'transfer'
}

export interface ParsedOptions extends ContainerdOptions {
  socketPath: string
  namespace: string
  runtime: string
  /** The OCI runtime that the shim of runc is to run instead of runc. */
  binary?: string
  stateDir: string
  cni: { binDirs: readonly string[]; confDir: string; subnet: string }
  logs: { mode: 'files' | 'timestamps'; maxBytes: number }
}

const LONGEST_IDENTIFIER = 76
const DEFAULT_LOG_BYTES = 64 * 2 ** 20

const RUNC_SHIM = 'io.containerd.runc.v2'
/** OCI runtimes that the shim of runc can run, by the name of their program. */
const BINARIES = new Set(['runc', 'crun', 'youki'])

const schema = lazily(() => {
  const text = z.string().check(z.minLength(1))
  const path = z.string().check(z.regex(/^\/[^\0]*$/, 'an absolute path'))
  return z.strictObject({
    socketPath: z.optional(path),
    namespace: z.optional(
      z
        .string()
        .check(
          z.refine(
            (value) => IDENTIFIER.test(value) && value.length <= LONGEST_IDENTIFIER,
            'letters, digits and single `.`, `_`, `-` between them, at most 76',
          ),
        ),
    ),
    snapshotter: z.optional(z.string().check(z.regex(IDENTIFIER, 'the name of a snapshotter such as overlayfs'))),
    runtime: z.optional(
      z.string().check(z.regex(/^(\/[^\0]+|[A-Za-z0-9][A-Za-z0-9._-]*)$/, 'the name of a runtime, or the absolute path of a shim')),
    ),
    stateDir: z.optional(path),
    cni: z.optional(
      z.strictObject({
        binDirs: z.optional(z.array(path)),
        confDir: z.optional(path),
        subnet: z.optional(z.string().check(z.regex(/^\d{1,3}\.\d{1,3}\.0\.0\/16$/, 'an IPv4 range such as 10.87.0.0/16'))),
      }),
    ),
    logs: z.optional(
      z.strictObject({
        mode: z.optional(z.enum(['files', 'timestamps'])),
        maxBytes: z.optional(
          z.number().check(z.refine((value) => Number.isSafeInteger(value) && value >= 0, 'a whole number of bytes from 0')),
        ),
      }),
    ),
    registries: z.optional(
      z.record(
        text,
        z.strictObject({ username: z.optional(z.string()), password: z.optional(z.string()), identityToken: z.optional(z.string()) }),
      ),
    ),
    insecureRegistries: z.optional(z.array(text)),
    pullBy: z.optional(z.enum(['auto', 'client', 'transfer'])),
  })
})

/** @throws VMKitError `INVALID_CONFIG` naming the option */
export function parseOptions(options: ContainerdOptions | undefined, driver: string): ParsedOptions {
  const given = validate(schema() as unknown as z.ZodMiniType<ContainerdOptions>, options ?? {}, {
    root: 'options',
    driver,
    isSecret: (path) => path[0] === 'registries',
  })
  const runtime = given.runtime ?? RUNC_SHIM
  return {
    ...given,
    socketPath: given.socketPath ?? '/run/containerd/containerd.sock',
    namespace: given.namespace ?? 'vmkit',
    runtime: BINARIES.has(runtime) ? RUNC_SHIM : runtime,
    ...(BINARIES.has(runtime) && runtime !== 'runc' ? { binary: runtime } : {}),
    stateDir: given.stateDir ?? '/var/lib/vmkit/containerd',
    cni: {
      binDirs: given.cni?.binDirs ?? ['/opt/cni/bin', '/usr/lib/cni', '/usr/libexec/cni'],
      confDir: given.cni?.confDir ?? '/etc/cni/net.d',
      subnet: given.cni?.subnet ?? '10.87.0.0/16',
    },
    logs: { mode: given.logs?.mode ?? 'files', maxBytes: given.logs?.maxBytes ?? DEFAULT_LOG_BYTES },
  }
}
