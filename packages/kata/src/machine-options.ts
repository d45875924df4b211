import type { ContainerdMachineOptions } from '@vmkit/containerd/driver'
import { lazily, type MachineConfig, validate } from '@vmkit/core/driver'
import * as z from '@vmkit/core/schema'
import type { Group } from './annotation-names.js'
import { type Asked, annotationName, checkAnnotations, type Rules } from './annotations.js'
import type { KataConfig } from './kata-config.js'
import { unsupported } from './refusals.js'

const NETWORK_MODELS = ['tcfilter', 'macvtap', 'l3forwarding', 'none'] as const
const SHARED_FS = ['virtio-fs', 'virtio-9p', 'virtio-fs-nydus', 'inline-virtio-fs', 'none'] as const

/** `driverOptions.kata` of a machine: those of containerd, and what Kata lets one sandbox have otherwise than its configuration. */
export interface KataMachineOptions extends Omit<ContainerdMachineOptions, 'pidMode' | 'ipcMode'> {
  /**
   * Settings of the `[hypervisor.*]` section by their key, such as `{ default_vcpus: 2, default_memory: 512 }` (MiB). The host
   * allows them by `enable_annotations`; others are refused.
   */
  hypervisor?: Readonly<Record<string, string | number | boolean>>
  /** Settings of the `[runtime]` section by their key. */
  runtime?: Readonly<Record<string, string | number | boolean>>
  /** Settings of the guest's agent by their key. */
  agent?: Readonly<Record<string, string | number | boolean>>
  /** `true`: only where the configuration makes confidential guests; it cannot be asked for one machine. */
  confidential?: boolean
  /** Filter of system calls inside the guest. Kata's default is none: the VM is the border. */
  guestSeccomp?: boolean
  /** How the VM is connected to the network interface in its namespace. */
  networkModel?: (typeof NETWORK_MODELS)[number]
  /** How folders of the host come into the guest. The Go shim takes `virtio-fs` and `virtio-9p` for one machine. */
  sharedFs?: (typeof SHARED_FS)[number]
  /** How block devices come into the guest. */
  blockDeviceDriver?: string
  /** The agent's policy (Rego), as text. */
  policy?: string
  /** What a confidential guest measures at its start, as Kata wants it: compressed and base64. */
  initData?: string
}

type Values = Readonly<Record<string, string | number | boolean>>

const schema = lazily(() => {
  const values = z.optional(z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])))
  const flag = z.optional(z.boolean())
  const text = z.optional(z.string().check(z.minLength(1)))
  return z.object({
    hypervisor: values,
    runtime: values,
    agent: values,
    confidential: flag,
    guestSeccomp: flag,
    networkModel: z.optional(z.enum(NETWORK_MODELS)),
    sharedFs: z.optional(z.enum(SHARED_FS)),
    blockDeviceDriver: text,
    policy: text,
    initData: text,
    annotations: z.optional(z.record(z.string(), z.string())),
  })
})

const OWN = [
  'hypervisor',
  'runtime',
  'agent',
  'confidential',
  'guestSeccomp',
  'networkModel',
  'sharedFs',
  'blockDeviceDriver',
  'policy',
  'initData',
] as const
const ROOT = 'config.driverOptions.kata'

/**
 * Kata's settings become annotations of the OCI spec, which is all that its shim reads of one machine; what is left is
 * containerd's. @throws VMKitError `INVALID_CONFIG`, `UNSUPPORTED` naming the field
 */
export function translate(config: MachineConfig, rules: Rules): MachineConfig {
  const given = config.driverOptions.kata
  if (given === undefined) return config
  const options = validate(schema() as unknown as z.ZodMiniType<KataMachineOptions>, given, {
    root: ROOT,
    driver: 'kata',
    operation: 'create',
    isSecret: () => true,
  })
  const asked = askedBy(options)
  checkConfidential(options, rules.config)
  checkAnnotations(asked, rules)
  const rest = Object.fromEntries(
    Object.entries(given as Record<string, unknown>).filter(([key]) => !(OWN as readonly string[]).includes(key)),
  )
  const annotations = Object.fromEntries(asked.map(({ name, value }) => [name, value]))
  return { ...config, driverOptions: { ...config.driverOptions, kata: { ...rest, ...(asked.length > 0 ? { annotations } : {}) } } }
}

/** Checks again what a machine brings that was made elsewhere. */
export function checkAgain(config: MachineConfig, rules: Rules): void {
  const { annotations = {} } = (config.driverOptions.kata ?? {}) as KataMachineOptions
  checkAnnotations(askedBy({ annotations }), rules)
}

function askedBy(options: KataMachineOptions): Asked[] {
  const group = (name: Group, values: Values = {}) =>
    Object.entries(values).map(([key, value]) => ({
      name: annotationName(name, key),
      value: String(value),
      field: `${ROOT}.${name}.${key}`,
    }))
  const one = (name: Group, key: string, field: string, value: string | undefined) =>
    value === undefined ? [] : [{ name: annotationName(name, key), value, field: `${ROOT}.${field}` }]
  const { guestSeccomp, policy } = options
  return [
    ...Object.entries(options.annotations ?? {}).map(([name, value]) => ({ name, value, field: `${ROOT}.annotations` })),
    ...group('hypervisor', options.hypervisor),
    ...group('runtime', options.runtime),
    ...group('agent', options.agent),
    ...one('runtime', 'disable_guest_seccomp', 'guestSeccomp', guestSeccomp === undefined ? undefined : String(!guestSeccomp)),
    ...one('runtime', 'internetworking_model', 'networkModel', options.networkModel),
    ...one('hypervisor', 'shared_fs', 'sharedFs', options.sharedFs),
    ...one('hypervisor', 'block_device_driver', 'blockDeviceDriver', options.blockDeviceDriver),
    ...one('hypervisor', 'cc_init_data', 'initData', options.initData),
    ...one('agent', 'policy', 'policy', policy === undefined ? undefined : Buffer.from(policy).toString('base64')),
  ]
}

function checkConfidential({ confidential }: KataMachineOptions, config: KataConfig | undefined): void {
  if (confidential === undefined || confidential === (config?.confidentialGuest ?? false)) return
  const where = config ? config.path : "Kata's configuration file, which was not found,"
  throw unsupported(
    `${ROOT}.confidential`,
    `${where} ${confidential ? 'makes no confidential guests' : 'makes confidential guests only'}, and no annotation changes that`,
    'Choose a runtime or `configPath` whose configuration does',
  )
}
