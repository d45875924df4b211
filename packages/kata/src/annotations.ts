/**
 * The annotations by which one sandbox differs from Kata's configuration file (kata-containers, docs/how-to/
 * how-to-set-sandbox-config-kata.md and virtcontainers/pkg/annotations). What the host does not allow has no effect, and Kata
 * says nothing about it: so it is refused here.
 */
import { invalidConfig, VMKitError } from '@vmkit/core/driver'
import type { KataConfig } from './kata-config.js'

const PREFIX = 'io.katacontainers.'
const HYPERVISOR = `${PREFIX}config.hypervisor.`

/** Name behind `io.katacontainers.config.<group>.` */
const HYPERVISOR_SETTINGS = [
  ...['asset_hash_type', 'block_device_aio', 'block_device_cache_direct', 'block_device_cache_noflush', 'block_device_cache_set'],
  ...['block_device_driver', 'cc_init_data', 'cold_plug_vfio', 'cpu_features', 'default_gpu_model', 'default_gpus', 'default_max_vcpus'],
  ...['default_memory', 'default_vcpus', 'disable_block_device_use', 'disable_image_nvdimm', 'disable_vhost_net', 'enable_guest_swap'],
  ...['enable_hugepages', 'enable_iommu', 'enable_iommu_platform', 'enable_iothreads', 'enable_mem_prealloc', 'enable_vhost_user_store'],
  ...['enable_virtio_mem', 'entropy_source', 'file_mem_backend', 'firmware', 'firmware_hash', 'firmware_volume', 'firmware_volume_hash'],
  ...['guest_hook_path', 'hot_plug_vfio', 'hypervisor_hash', 'image', 'image_hash', 'initrd', 'initrd_hash', 'jailer_hash', 'jailer_path'],
  ...[
    'kernel',
    'kernel_hash',
    'kernel_params',
    'machine_accelerators',
    'machine_type',
    'memory_offset',
    'memory_slots',
    'msize_9p',
    'path',
  ],
  ...['pcie_root_port', 'pcie_switch_port', 'reclaim_guest_freed_memory', 'rootless', 'rx_rate_limiter_max_rate', 'shared_fs'],
  ...['tx_rate_limiter_max_rate', 'use_legacy_serial', 'vhost_user_reconnect_timeout_sec', 'vhost_user_store_path', 'virtio_fs_cache'],
  ...['virtio_fs_cache_size', 'virtio_fs_daemon', 'virtio_fs_extra_args'],
] as const

const RUNTIME_SETTINGS = [
  ...['create_container_timeout', 'disable_guest_seccomp', 'disable_new_netns', 'enable_pprof', 'experimental'],
  ...['experimental_force_guest_pull', 'guest_selinux_label', 'internetworking_model', 'sandbox_cgroup_only', 'vfio_mode'],
] as const

const AGENT_SETTINGS = ['container_pipe_size', 'enable_tracing', 'kernel_modules', 'policy'] as const

const GROUPS = { hypervisor: HYPERVISOR_SETTINGS, runtime: RUNTIME_SETTINGS, agent: AGENT_SETTINGS } as const

/** Paths must be in a list of globs of the configuration file, beside being allowed at all. */
const PATH_LISTS: Readonly<Record<string, string>> = {
  path: 'valid_hypervisor_paths',
  jailer_path: 'valid_jailer_paths',
  virtio_fs_daemon: 'valid_virtio_fs_daemon_paths',
  vhost_user_store_path: 'valid_vhost_user_store_paths',
  file_mem_backend: 'valid_file_mem_backends',
}

export type Group = keyof typeof GROUPS
export const annotationName = (group: Group, key: string) => `${PREFIX}config.${group}.${key}`

export interface Asked {
  /** Whole name of the annotation. */
  name: string
  value: string
  /** The field of the config that asked for it. */
  field: string
}

/** @throws VMKitError `INVALID_CONFIG` for a name that Kata does not know, `UNSUPPORTED` for one that this host does not allow */
export function checkAnnotations(asked: readonly Asked[], config: KataConfig | undefined): void {
  for (const { name, value, field } of asked) {
    if (!name.startsWith(PREFIX)) continue
    const [, group = '', key = ''] = /^io\.katacontainers\.config\.(hypervisor|runtime|agent)\.(.+)$/.exec(name) ?? []
    if (!isKnown(name, group, key)) {
      throw invalidConfig(field, `an annotation that Kata knows and that belongs to one sandbox`, name, {
        driver: 'kata',
        operation: 'create',
      })
    }
    if (name.startsWith(HYPERVISOR)) checkHypervisorSetting(key, value, field, config)
  }
}

function isKnown(name: string, group: string, key: string): boolean {
  if (Object.hasOwn(GROUPS, group)) return (GROUPS[group as Group] as readonly string[]).includes(key)
  return /^io\.katacontainers\.(?:container\.resource\.(?:swappiness|swap_in_bytes)|config\.enable_vcpus_pinning|enable_vcpus_pinning)$/.test(
    name,
  )
}

function checkHypervisorSetting(key: string, value: string, field: string, config: KataConfig | undefined): void {
  const refuse = (reason: string, hint?: string) =>
    new VMKitError('UNSUPPORTED', reason, { driver: 'kata', operation: 'create', field, hint })
  if (!config)
    throw refuse(`Kata's configuration file was not found, so this host allows no hypervisor settings: \`${key}\` would be ignored`)
  if (!config.enableAnnotations.some((pattern) => matches(pattern, key))) {
    throw refuse(
      `This host does not allow the hypervisor setting \`${key}\` for one machine: Kata would ignore it`,
      `Add ${JSON.stringify(key)} to \`enable_annotations\` in ${config.path}`,
    )
  }
  const list = PATH_LISTS[key]
  if (list !== undefined && !(config.validPaths[list] ?? []).some((glob) => globToRegExp(glob).test(value))) {
    throw refuse(`This host does not allow this path for \`${key}\``, `Add it to \`${list}\` in ${config.path}`)
  }
}

/** As Go's `regexp.MatchString`: anywhere in the name. */
function matches(pattern: string, key: string): boolean {
  try {
    return new RegExp(pattern).test(key)
  } catch {
    return false
  }
}

/** glob(3) without braces: `*` and `?` do not go over a slash. */
function globToRegExp(glob: string): RegExp {
  const source = glob
    .replace(/[.+^${}()|\\]/g, '\\$&')
    .replace(/\*/g, '[^/]*')
    .replace(/\?/g, '[^/]')
  try {
    return new RegExp(`^${source}$`)
  } catch {
    return /(?!)/
  }
}
