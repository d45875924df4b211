import { lazily, type MachineConfig, validate } from '@vmkit/core/driver'
import * as z from '@vmkit/core/schema'

/** `driverOptions.containerd` of a machine: what only containerd and its runtimes have. Names follow `docker run`. */
export interface ContainerdMachineOptions {
  privileged?: boolean
  /** Capability names, with or without `CAP_`; `ALL` for all of them. */
  capAdd?: readonly string[]
  capDrop?: readonly string[]
  /** No filter of system calls. */
  seccomp?: 'default' | 'unconfined'
  noNewPrivileges?: boolean
  readOnlyRootfs?: boolean
  /** Path → mount options, such as `{ '/tmp': 'size=64m' }`. */
  tmpfs?: Readonly<Record<string, string>>
  /** Bytes. */
  shmSize?: number
  hostname?: string
  domainname?: string
  dns?: readonly string[]
  dnsSearch?: readonly string[]
  /** `name:address`. */
  extraHosts?: readonly string[]
  ulimits?: readonly { name: string; soft: number; hard: number }[]
  sysctls?: Readonly<Record<string, string>>
  /** Numeric ids of further groups. */
  groupAdd?: readonly number[]
  /** `host`: the processes of this host are seen. */
  pidMode?: 'host'
  ipcMode?: 'host'
  /** Path below the root of every cgroup hierarchy. */
  cgroupParent?: string
  cpusetCpus?: string
  cpuShares?: number
  /** Bytes. */
  memoryReservation?: number
  /** Memory and swap together in bytes, -1 for no limit. Default: as much as `memory`, which means no swap. */
  memorySwap?: number
  oomScoreAdj?: number
  /** Annotations of the OCI spec, for the runtime. */
  annotations?: Readonly<Record<string, string>>
  /** `os/arch`, for the image. */
  platform?: string
}

const schema = lazily(() => {
  const text = z.string().check(z.minLength(1))
  const texts = z.optional(z.array(text))
  const table = z.optional(z.record(text, z.string()))
  const flag = z.optional(z.boolean())
  const whole = (from: number) =>
    z.number().check(z.refine((value) => Number.isSafeInteger(value) && value >= from, `a whole number from ${from}`))
  const count = z.optional(whole(0))
  return z.strictObject({
    privileged: flag,
    capAdd: texts,
    capDrop: texts,
    seccomp: z.optional(z.enum(['default', 'unconfined'])),
    noNewPrivileges: flag,
    readOnlyRootfs: flag,
    tmpfs: table,
    shmSize: count,
    hostname: z.optional(z.string().check(z.regex(/^[A-Za-z0-9]([A-Za-z0-9.-]{0,62})$/, 'a host name'))),
    domainname: z.optional(text),
    dns: texts,
    dnsSearch: texts,
    extraHosts: z.optional(z.array(z.string().check(z.regex(/^[A-Za-z0-9._-]+:[0-9A-Fa-f.:]+$/, '`name:address`')))),
    ulimits: z.optional(
      z.array(z.strictObject({ name: z.string().check(z.regex(/^[a-z]+$/, 'a name such as nofile')), soft: whole(-1), hard: whole(-1) })),
    ),
    sysctls: table,
    groupAdd: z.optional(z.array(whole(0))),
    pidMode: z.optional(z.enum(['host'])),
    ipcMode: z.optional(z.enum(['host'])),
    cgroupParent: z.optional(z.string().check(z.regex(/^(\/(?!\.\.?(\/|$))[^/\0]+)+$/, 'an absolute path without `..`'))),
    cpusetCpus: z.optional(z.string().check(z.regex(/^\d+(-\d+)?(,\d+(-\d+)?)*$/, 'a list of CPUs such as 0-1,3'))),
    cpuShares: count,
    memoryReservation: count,
    memorySwap: z.optional(whole(-1)),
    oomScoreAdj: z.optional(whole(-1000)),
    annotations: table,
    platform: z.optional(text),
  })
})

/**
 * `name` is the registered name of the driver: a driver that is made of this one has its options under its own.
 * @throws VMKitError `INVALID_CONFIG` naming the field below `config.driverOptions.<name>`
 */
export function machineOptions(config: MachineConfig, name: string): ContainerdMachineOptions {
  const given = config.driverOptions[name]
  if (given === undefined) return {}
  return validate(schema() as unknown as z.ZodMiniType<ContainerdMachineOptions>, given, {
    root: `config.driverOptions.${name}`,
    driver: name,
    operation: 'create',
    isSecret: () => true,
  })
}
