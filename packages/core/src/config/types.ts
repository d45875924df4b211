/**
 * The configuration of a machine, as users write it (`VMConfig`) and as drivers get it (`MachineConfig`: parsed, in bytes
 * and milliseconds, with defaults).
 */
import type { DriverRegistry } from '../index.js'

/** A number of bytes, or text with a unit: `'512MiB'`, `'2GB'`. */
export type Size = number | string
/** A number of milliseconds, or text with a unit: `'500ms'`, `'30s'`, `'5m'`. */
export type Duration = number | string

export type PortProtocol = 'tcp' | 'udp'
export type PullPolicy = 'missing' | 'always' | 'never'
export type RestartPolicyName = 'no' | 'on-failure' | 'always' | 'unless-stopped'

export interface PortConfig {
  /** Port inside the machine, 1-65535. */
  guest: number
  /** Port on this host; 0 or absent: a free one, told by `info()`. */
  host?: number
  /** Address on this host. Default 127.0.0.1, so that nothing is open to the network unasked. */
  hostIp?: string
  /** Default tcp. */
  protocol?: PortProtocol
}

export interface MountConfig {
  /** Absolute path on this host. */
  source: string
  /** Absolute path in the machine. */
  target: string
  readOnly?: boolean
}

export interface VolumeMountConfig {
  /** Name of the volume; made when missing. */
  name: string
  /** Absolute path in the machine. */
  target: string
  readOnly?: boolean
}

export interface NetworkConfig {
  name: string
  /** Other names by which machines of the network find this one. */
  aliases?: readonly string[]
  ip?: string
  mac?: string
}

export interface RestartConfig {
  policy: RestartPolicyName
  /** For `on-failure`: give up after so many. */
  maxRetries?: number
}

/** A device; `id` names it for `detachDevice`. */
export type DeviceConfig = { id?: string } & (
  | /** Container Device Interface name, such as `vendor.com/gpu=0`. */ { type: 'cdi'; name: string }
  | { type: 'gpu'; count?: number | 'all'; ids?: readonly string[]; capabilities?: readonly string[] }
  | { type: 'host'; path: string; guestPath?: string; permissions?: string }
  | /** PCI function by address, such as `0000:3b:00.0`. */ { type: 'pci'; address: string }
  | { type: 'disk'; path: string; readOnly?: boolean; format?: 'raw' | 'qcow2' }
  | { type: 'nic'; network?: string; mac?: string }
)

export interface FileConfig {
  /** Absolute path in the machine, or relative to its workdir. */
  path: string
  content: string | Uint8Array
  /** Permission bits. Default 0o644. */
  mode?: number
}

export interface CloudInitConfig {
  userData?: string
  metaData?: string
  networkConfig?: string
}

/** Options for one driver, under its registered name; entries of other drivers are ignored, so one config serves several. */
export type DriverOptionsByName = {
  readonly [K in keyof DriverRegistry]?: DriverRegistry[K] extends { machineOptions: infer O } ? O : never
} & { readonly [name: string]: unknown }

/**
 * What a machine should be. At most one source: `image`, `rootfs`, `kernel`, or a `disk` with an image; `kernel` may go
 * with `disk`, and a `disk` that is only a size with anything.
 */
export interface VMConfig {
  /** Unique per driver: letters, digits, `_`, `.`, `-`, at most 63. Default: a random one. */
  name?: string
  /** OCI reference, or the path of an archive or OCI layout. */
  image?: string
  /** Folder with a root file system. */
  rootfs?: string
  /** Machine disk. With `size` alone it is an empty one. */
  disk?: { image?: string; size?: Size }
  kernel?: { path: string; initrd?: string; cmdline?: string }
  /** Replaces the image's ENTRYPOINT. */
  command?: readonly string[]
  /** Replaces the image's CMD. */
  args?: readonly string[]
  env?: Readonly<Record<string, string>>
  workdir?: string
  /** Name or number, with `:group` when wanted. */
  user?: string
  /** Give the main process a terminal. */
  tty?: boolean
  /** Keep the stdin of the main process open, for `attach`. */
  stdin?: boolean
  /** CPUs, fractions allowed where the driver limits shares of time. */
  cpus?: number
  memory?: Size
  /** Most processes at a time. */
  pids?: number
  mounts?: readonly MountConfig[]
  volumes?: readonly VolumeMountConfig[]
  ports?: readonly PortConfig[]
  networks?: readonly (NetworkConfig | string)[]
  devices?: readonly DeviceConfig[]
  labels?: Readonly<Record<string, string>>
  restart?: RestartPolicyName | RestartConfig
  /** How `stop` ends it: the signal (default: the image's own, else SIGTERM), and how long it has before SIGKILL (default 10 s). */
  stop?: { signal?: string; graceMs?: Duration }
  /** When to pull the image. Default missing. */
  pull?: PullPolicy
  /** Placed before it starts. */
  files?: readonly FileConfig[]
  cloudInit?: CloudInitConfig
  /** Delete it so long after its creation. */
  ttl?: Duration
  driverOptions?: DriverOptionsByName
}

export type ConfigField = keyof VMConfig

/** A parsed config: sizes in bytes, durations in milliseconds, defaults filled in. This is what drivers get and keep. */
export interface MachineConfig {
  name: string
  image?: string
  rootfs?: string
  disk?: { image?: string; size?: number }
  kernel?: { path: string; initrd?: string; cmdline?: string }
  command?: string[]
  args?: string[]
  env: Record<string, string>
  workdir?: string
  user?: string
  tty: boolean
  stdin: boolean
  cpus?: number
  memory?: number
  pids?: number
  mounts: (MountConfig & { readOnly: boolean })[]
  volumes: (VolumeMountConfig & { readOnly: boolean })[]
  /** `host` 0: any free port. */
  ports: Required<PortConfig>[]
  networks: (NetworkConfig & { aliases: string[] })[]
  devices: DeviceConfig[]
  labels: Record<string, string>
  restart?: RestartConfig
  /** Without `signal`: the image's own, else SIGTERM. */
  stop: { signal?: string; graceMs: number }
  pull: PullPolicy
  files: (FileConfig & { mode: number })[]
  cloudInit?: CloudInitConfig
  ttl?: number
  driverOptions: Record<string, unknown>
}
