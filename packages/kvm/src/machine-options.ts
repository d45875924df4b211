import { lazily, type MachineConfig, validate } from '@vmkit/core/driver'
import * as z from '@vmkit/core/schema'
import { DRIVER } from './errors.js'
import { isAllowedExtra } from './qemu/extra.js'

/** `driverOptions.kvm` of a machine: what only a virtual machine has. */
export interface KvmMachineOptions {
  /** Default `q35`. `microvm` boots fastest and takes no devices while it runs. */
  machine?: 'q35' | 'pc' | 'microvm'
  /** Default: the driver's. */
  accel?: 'auto' | 'kvm' | 'tcg'
  /** Boot by UEFI instead of the BIOS (Debian: package `ovmf`). Not with `microvm`. */
  uefi?: boolean
  /** QEMU's name of a processor, with `,+feature` and `,-feature`, such as `Skylake-Server,+pcid`. */
  cpu?: string
  topology?: { sockets?: number; cores?: number; threads?: number }
  /** Most vCPUs that `resize` may reach while it runs. Default: `cpus`. */
  maxCpus?: number
  /** Memory in huge pages of the host. */
  hugepages?: boolean
  /**
   * Starts from its memory snapshots, by `restore` and `clone`, map the saved memory instead of reading it: they are faster, and share
   * what they do not change. Its own memory is a file in its folder then, so put `stateDir` on a fast disk or a tmpfs; and it has no
   * balloon, so that `resize` cannot change its memory. Default false.
   */
  template?: boolean
  /**
   * What the host gives the whole QEMU, by a control group: shares of its CPUs, bytes of memory (more than the guest's: QEMU needs some
   * itself; it is killed when it wants more), threads. Needs rights to make cgroups; `probe().details` tells. `cpus` of the config, when it
   * is no whole number, is such a share too.
   */
  limits?: { cpus?: number; memory?: number; pids?: number }
  /**
   * By what the guest sees `mounts` and `volumes`. `9p` (default): QEMU serves them itself. `virtiofs`: faster, by a process (virtiofsd) for
   * each, which ends with QEMU; for root only, and read-only ones need a virtiofsd that refuses writes itself (1.11 or later).
   */
  sharedFs?: '9p' | 'virtiofs'
  /** A screen, reached by `vnc()` and `screenshot()`. `password`: VNC asks for one, which `vnc()` tells. Default false. */
  screen?: boolean | { password: boolean }
  /** Network other than the default, QEMU's own user-mode network, which needs no privileges and reaches outside. */
  network?:
    | { kind: 'user'; restrict?: boolean }
    | { kind: 'none' }
    /** An interface that is there. */
    | { kind: 'tap'; ifname: string; vhost?: boolean }
    /** A bridge that QEMU's bridge helper may use. */
    | { kind: 'bridge'; bridge: string; helper?: string }
    /** A UNIX socket of a switch such as DPDK's. */
    | { kind: 'vhost-user'; path: string; queues?: number }
  /** Free PCI Express ports of a q35 for devices that come later. Default 2. */
  hotplugPorts?: number
  /** Further arguments of QEMU: options that add something, not those by which vmkit steers. */
  extraArguments?: readonly string[]
}

const schema = lazily(() => {
  const text = z.string().check(z.refine((value) => value !== '' && !value.includes('\0'), 'a text that is not empty'))
  const path = z.string().check(z.refine((value) => value.startsWith('/') && !value.includes('\0'), 'an absolute path'))
  const ifname = z.string().check(z.refine((value) => /^[\w.-]{1,15}$/.test(value), 'the name of a network interface'))
  const count = z.optional(
    z.number().check(z.refine((value) => Number.isSafeInteger(value) && value >= 1 && value <= 1024, 'a whole number from 1 to 1024')),
  )
  const flag = z.optional(z.boolean())
  const bytes = z.optional(z.number().check(z.refine((value) => Number.isSafeInteger(value) && value > 0, 'a whole number above 0')))
  return z.strictObject({
    machine: z.optional(z.enum(['q35', 'pc', 'microvm'])),
    accel: z.optional(z.enum(['auto', 'kvm', 'tcg'])),
    uefi: flag,
    cpu: z.optional(
      z
        .string()
        .check(
          z.refine((value) => /^[A-Za-z][\w.-]*(,[+-][\w.-]+|,[a-z][\w.-]*=[\w.-]+)*$/.test(value), "a processor such as 'Haswell,+pcid'"),
        ),
    ),
    topology: z.optional(z.strictObject({ sockets: count, cores: count, threads: count })),
    maxCpus: count,
    hugepages: flag,
    template: flag,
    limits: z.optional(
      z.strictObject({
        cpus: z.optional(z.number().check(z.refine((value) => value >= 0.01 && value <= 1024, 'a number from 0.01 to 1024'))),
        memory: bytes,
        pids: bytes,
      }),
    ),
    sharedFs: z.optional(z.enum(['9p', 'virtiofs'])),
    screen: z.optional(z.union([z.boolean(), z.strictObject({ password: z.boolean() })])),
    network: z.optional(
      z.discriminatedUnion('kind', [
        z.strictObject({ kind: z.literal('user'), restrict: flag }),
        z.strictObject({ kind: z.literal('none') }),
        z.strictObject({ kind: z.literal('tap'), ifname, vhost: flag }),
        z.strictObject({ kind: z.literal('bridge'), bridge: ifname, helper: z.optional(path) }),
        z.strictObject({ kind: z.literal('vhost-user'), path, queues: count }),
      ]),
    ),
    hotplugPorts: z.optional(
      z.number().check(z.refine((value) => Number.isSafeInteger(value) && value >= 0 && value <= 16, 'a whole number from 0 to 16')),
    ),
    extraArguments: z.optional(z.array(text).check(z.refine(isAllowedExtra, 'options of QEMU that add something, each with its value'))),
  })
})

/** @throws VMKitError `INVALID_CONFIG` naming the field below `config.driverOptions.kvm` */
export function machineOptions(config: MachineConfig): KvmMachineOptions {
  const given = config.driverOptions[DRIVER]
  if (given === undefined) return {}
  return validate(schema() as unknown as z.ZodMiniType<KvmMachineOptions>, given, {
    root: `config.driverOptions.${DRIVER}`,
    driver: DRIVER,
    operation: 'create',
  })
}
