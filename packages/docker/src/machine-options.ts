import { lazily, type MachineConfig, validate } from '@vmkit/core/driver'
import * as z from '@vmkit/core/schema'

export interface Healthcheck {
  /** `['CMD', 'program', …]`, `['CMD-SHELL', 'line']` or `['NONE']`. */
  test: readonly string[]
  intervalMs?: number
  timeoutMs?: number
  startPeriodMs?: number
  retries?: number
}

/** `driverOptions.docker` of a machine: what only Docker has. Names follow `docker run`. */
export interface DockerMachineOptions {
  privileged?: boolean
  capAdd?: readonly string[]
  capDrop?: readonly string[]
  securityOpt?: readonly string[]
  readOnlyRootfs?: boolean
  /** Path → mount options, such as `{ '/tmp': 'size=64m' }`. */
  tmpfs?: Readonly<Record<string, string>>
  /** Bytes. */
  shmSize?: number
  /** Run an init as process 1 that reaps and passes signals on. */
  init?: boolean
  /** OCI runtime, such as `crun`, `runsc`, `kata`. */
  runtime?: string
  /** End the stdin of the main process when the first attached client leaves, or ends it. */
  stdinOnce?: boolean
  healthcheck?: Healthcheck
  hostname?: string
  domainname?: string
  dns?: readonly string[]
  dnsSearch?: readonly string[]
  /** `name:address`. */
  extraHosts?: readonly string[]
  ulimits?: readonly { name: string; soft: number; hard: number }[]
  sysctls?: Readonly<Record<string, string>>
  groupAdd?: readonly string[]
  ipcMode?: string
  pidMode?: string
  cgroupParent?: string
  cpusetCpus?: string
  cpuShares?: number
  /** Bytes. */
  memoryReservation?: number
  /** Memory and swap together in bytes, -1 for no limit. Default: as much as `memory`, which means no swap. */
  memorySwap?: number
  oomScoreAdj?: number
  logDriver?: { type: string; options?: Readonly<Record<string, string>> }
  /** `os/arch`, for the image. */
  platform?: string
}

const schema = lazily(() => {
  const text = z.string().check(z.minLength(1))
  const texts = z.optional(z.array(text))
  const table = z.optional(z.record(text, z.string()))
  const whole = z.optional(z.number().check(z.refine((value) => Number.isSafeInteger(value), 'a whole number')))
  const count = z.optional(z.number().check(z.refine((value) => Number.isSafeInteger(value) && value >= 0, 'a whole number from 0')))
  const flag = z.optional(z.boolean())
  const limit = z.number().check(z.refine((value) => Number.isSafeInteger(value) && value >= -1, 'a whole number from -1'))

  return z.strictObject({
    privileged: flag,
    capAdd: texts,
    capDrop: texts,
    securityOpt: texts,
    readOnlyRootfs: flag,
    tmpfs: table,
    shmSize: count,
    init: flag,
    runtime: z.optional(text),
    stdinOnce: flag,
    healthcheck: z.optional(
      z.strictObject({ test: z.array(z.string()), intervalMs: count, timeoutMs: count, startPeriodMs: count, retries: count }),
    ),
    hostname: z.optional(text),
    domainname: z.optional(text),
    dns: texts,
    dnsSearch: texts,
    extraHosts: texts,
    ulimits: z.optional(z.array(z.strictObject({ name: text, soft: limit, hard: limit }))),
    sysctls: table,
    groupAdd: texts,
    ipcMode: z.optional(text),
    pidMode: z.optional(text),
    cgroupParent: z.optional(text),
    cpusetCpus: z.optional(text),
    cpuShares: count,
    memoryReservation: count,
    memorySwap: whole,
    oomScoreAdj: whole,
    logDriver: z.optional(z.strictObject({ type: text, options: table })),
    platform: z.optional(text),
  })
})

/** @throws VMKitError `INVALID_CONFIG` naming the field below `config.driverOptions.docker` */
export function machineOptions(config: MachineConfig): DockerMachineOptions {
  const given = config.driverOptions.docker
  if (given === undefined) return {}
  return validate(schema() as unknown as z.ZodMiniType<DockerMachineOptions>, given, {
    root: 'config.driverOptions.docker',
    driver: 'docker',
    operation: 'create',
    isSecret: () => true,
  })
}
