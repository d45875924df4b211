/**
 * The annotations that Kata's shims read (kata-containers: docs/how-to/how-to-set-sandbox-config-kata.md, virtcontainers/pkg/annotations,
 * kata-types' annotations), and what the two shims have each for itself (its guide from the Go runtime to runtime-rs).
 */

/** Names behind `io.katacontainers.config.<group>.` */
export const SETTINGS = {
  hypervisor: [
    ...['blk_logical_sector_size', 'blk_physical_sector_size', 'block_device_aio', 'block_device_cache_direct'],
    ...['block_device_cache_noflush', 'block_device_cache_set', 'block_device_driver', 'block_device_num_queues'],
    ...['block_device_queue_size', 'cc_init_data', 'cold_plug_vfio', 'cpu_features', 'default_gpu_model', 'default_gpus'],
    ...['default_max_vcpus', 'default_memory', 'default_vcpus', 'disable_block_device_use', 'disable_image_nvdimm', 'disable_vhost_net'],
    ...['enable_guest_swap', 'enable_hugepages', 'enable_iommu', 'enable_iommu_platform', 'enable_iothreads', 'enable_mem_prealloc'],
    ...['enable_vhost_user_store', 'enable_virtio_mem', 'entropy_source', 'file_mem_backend', 'firmware', 'firmware_hash'],
    ...['firmware_volume', 'firmware_volume_hash', 'guest_hook_path', 'hot_plug_vfio', 'hotplug_vfio_on_root_bus', 'hypervisor_hash'],
    ...['image', 'image_hash', 'initrd', 'initrd_hash', 'jailer_hash', 'jailer_path', 'kernel', 'kernel_hash', 'kernel_params'],
    ...['machine_accelerators', 'machine_type', 'memory_offset', 'memory_slots', 'msize_9p', 'path', 'pcie_root_port'],
    ...['pcie_switch_port', 'reclaim_guest_freed_memory', 'rootless', 'rx_rate_limiter_max_rate', 'shared_fs'],
    ...['tx_rate_limiter_max_rate', 'use_legacy_serial', 'vhost_user_reconnect_timeout_sec', 'vhost_user_store_path'],
    ...['virtio_fs_cache', 'virtio_fs_cache_size', 'virtio_fs_daemon', 'virtio_fs_extra_args'],
  ],
  runtime: [
    ...['create_container_timeout', 'disable_guest_seccomp', 'disable_new_netns', 'enable_pprof', 'experimental'],
    ...['experimental_force_guest_pull', 'guest_selinux_label', 'internetworking_model', 'sandbox_cgroup_only', 'vfio_mode'],
  ],
  agent: ['cdh_api_timeout', 'cdh_api_timeout_ms', 'container_pipe_size', 'enable_tracing', 'kernel_modules', 'policy'],
} as const satisfies Record<string, readonly string[]>

export type Group = keyof typeof SETTINGS

/** Whole names of those that are in no group. */
export const OTHERS: ReadonlySet<string> = new Set([
  'io.katacontainers.asset_hash_type',
  'io.katacontainers.container.resource.swap_in_bytes',
  'io.katacontainers.container.resource.swappiness',
  'io.katacontainers.enable_vcpus_pinning',
])

/** Which shim alone reads a setting; the other one ignores it. */
export const ONLY: Readonly<Record<string, 'go' | 'rust'>> = {
  'hypervisor.block_device_num_queues': 'rust',
  'hypervisor.block_device_queue_size': 'rust',
  'hypervisor.firmware_volume': 'go',
  'hypervisor.firmware_volume_hash': 'go',
  'hypervisor.hot_plug_vfio': 'go',
  'hypervisor.hotplug_vfio_on_root_bus': 'rust',
  'hypervisor.msize_9p': 'go',
  'hypervisor.use_legacy_serial': 'go',
  'hypervisor.vhost_user_reconnect_timeout_sec': 'go',
  'runtime.experimental_force_guest_pull': 'go',
  'runtime.guest_selinux_label': 'go',
  'agent.cdh_api_timeout': 'go',
  'agent.cdh_api_timeout_ms': 'rust',
}

/** Values that a shim takes from an annotation; its configuration file may know more. */
export const VALUES: Readonly<Record<string, Readonly<Record<'go' | 'rust', readonly string[]>>>> = {
  'hypervisor.shared_fs': {
    go: ['virtio-fs', 'virtio-9p'],
    rust: ['virtio-fs', 'inline-virtio-fs', 'virtio-fs-nydus', 'none'],
  },
  'hypervisor.block_device_driver': {
    go: ['virtio-scsi', 'virtio-blk', 'virtio-mmio', 'nvdimm', 'virtio-blk-ccw'],
    rust: ['virtio-blk-pci', 'virtio-blk-ccw', 'virtio-blk-mmio', 'virtio-scsi', 'virtio-pmem'],
  },
}

/** Paths must be in a list of globs of the configuration file, beside being allowed at all. */
export const PATH_LISTS: Readonly<Record<string, string>> = {
  entropy_source: 'valid_entropy_sources',
  file_mem_backend: 'valid_file_mem_backends',
  jailer_path: 'valid_jailer_paths',
  path: 'valid_hypervisor_paths',
  vhost_user_store_path: 'valid_vhost_user_store_paths',
  virtio_fs_daemon: 'valid_virtio_fs_daemon_paths',
}
