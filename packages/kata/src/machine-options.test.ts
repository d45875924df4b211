import { parseConfig } from '@vmkit/core'
import { describe, expect, it } from 'vitest'
import type { Rules } from './annotations.js'
import { kataConfigOf } from './kata-config.js'
import { checkAgain, type KataMachineOptions, translate } from './machine-options.js'
import { refuseForGuest, refuseHostSharing } from './refusals.js'

const host = (section: Record<string, unknown> = {}, kind: Rules['kind'] = 'go'): Rules => ({
  kind,
  config: kataConfigOf('/etc/kata.toml', {
    hypervisor: {
      qemu: {
        path: '/usr/bin/qemu',
        enable_annotations: ['default_vcpus', '^default_mem', 'path'],
        valid_hypervisor_paths: ['/usr/bin/qemu*'],
        ...section,
      },
    },
  }),
})
/** Allows every setting by name. */
const open = (kind: Rules['kind']) => host({ enable_annotations: ['.*'] }, kind)
const configOf = (kata: object) => parseConfig({ name: 'm', image: 'x', driverOptions: { kata } } as never)
const annotated = (kata: KataMachineOptions, rules = host()) =>
  (translate(configOf(kata), rules).driverOptions.kata as KataMachineOptions).annotations
const ROOT = 'config.driverOptions.kata'

describe('settings of one machine', () => {
  it('become annotations where the host allows them', () => {
    expect(
      annotated({
        hypervisor: { default_vcpus: 2, default_memory: 512, path: '/usr/bin/qemu-kata' },
        guestSeccomp: true,
        networkModel: 'macvtap',
        policy: 'x',
      }),
    ).toEqual({
      'io.katacontainers.config.hypervisor.default_vcpus': '2',
      'io.katacontainers.config.hypervisor.default_memory': '512',
      'io.katacontainers.config.hypervisor.path': '/usr/bin/qemu-kata',
      'io.katacontainers.config.runtime.disable_guest_seccomp': 'false',
      'io.katacontainers.config.runtime.internetworking_model': 'macvtap',
      'io.katacontainers.config.agent.policy': 'eA==',
    })
  })

  it.each<[KataMachineOptions, Record<string, string>]>([
    [{ guestSeccomp: false }, { 'io.katacontainers.config.runtime.disable_guest_seccomp': 'true' }],
    [{ networkModel: 'l3forwarding' }, { 'io.katacontainers.config.runtime.internetworking_model': 'l3forwarding' }],
    [{ sharedFs: 'virtio-fs' }, { 'io.katacontainers.config.hypervisor.shared_fs': 'virtio-fs' }],
    [{ blockDeviceDriver: 'virtio-scsi' }, { 'io.katacontainers.config.hypervisor.block_device_driver': 'virtio-scsi' }],
    [{ initData: 'H4sI' }, { 'io.katacontainers.config.hypervisor.cc_init_data': 'H4sI' }],
    [{ runtime: { vfio_mode: 'guest-kernel' } }, { 'io.katacontainers.config.runtime.vfio_mode': 'guest-kernel' }],
    [{ agent: { enable_tracing: true } }, { 'io.katacontainers.config.agent.enable_tracing': 'true' }],
    [
      { annotations: { 'io.katacontainers.enable_vcpus_pinning': 'true', 'com.example.own': 'x' } },
      { 'io.katacontainers.enable_vcpus_pinning': 'true', 'com.example.own': 'x' },
    ],
  ])('%j becomes %j with either shim', (options, expected) => {
    for (const kind of ['go', 'rust'] as const) expect(annotated(options, open(kind))).toEqual(expected)
  })

  it('leave the options of containerd as they are', () => {
    const rules: Rules = { config: undefined, kind: 'go' }
    expect(translate(configOf({ hostname: 'h', agent: { container_pipe_size: 1 } }), rules).driverOptions.kata).toEqual({
      hostname: 'h',
      annotations: { 'io.katacontainers.config.agent.container_pipe_size': '1' },
    })
    expect(translate(configOf({ hostname: 'h' }), rules).driverOptions.kata).toEqual({ hostname: 'h' })
  })

  it.each<[KataMachineOptions, string, string]>([
    [{ hypervisor: { kernel: '/k' } }, 'UNSUPPORTED', `${ROOT}.hypervisor.kernel`],
    [{ hypervisor: { path: '/tmp/evil' } }, 'UNSUPPORTED', `${ROOT}.hypervisor.path`],
    [{ hypervisor: { no_such: 1 } }, 'INVALID_CONFIG', `${ROOT}.hypervisor.no_such`],
    [{ runtime: { no_such: 1 } }, 'INVALID_CONFIG', `${ROOT}.runtime.no_such`],
    [{ sharedFs: 'virtio-9p' }, 'UNSUPPORTED', `${ROOT}.sharedFs`],
    [{ initData: 'x' }, 'UNSUPPORTED', `${ROOT}.initData`],
    [{ confidential: true }, 'UNSUPPORTED', `${ROOT}.confidential`],
    [{ annotations: { 'io.katacontainers.config.hypervisor.kernel': '/k' } }, 'UNSUPPORTED', `${ROOT}.annotations`],
    [{ annotations: { 'io.katacontainers.config_path': '/k' } }, 'INVALID_CONFIG', `${ROOT}.annotations`],
    [{ networkModel: 'bridge' as never }, 'INVALID_CONFIG', `${ROOT}.networkModel`],
  ])('%j is refused', (options, code, field) => {
    expect(() => annotated(options)).toThrow(expect.objectContaining({ code, field }))
  })

  // What the host seals it seals by name; what it allows by name it may still seal by value.
  it.each([
    ['entropy_source', 'valid_entropy_sources', '/dev/urandom', '/dev/zero'],
    ['file_mem_backend', 'valid_file_mem_backends', '/dev/shm', '/tmp'],
    ['jailer_path', 'valid_jailer_paths', '/opt/kata/bin/jailer', '/opt/kata/bin/sub/jailer'],
    ['path', 'valid_hypervisor_paths', '/opt/kata/bin/qemu-x', '/opt/evil'],
    ['virtio_fs_daemon', 'valid_virtio_fs_daemon_paths', '/opt/kata/libexec/virtiofsd', '/opt/kata/libexec/virtiofsd2'],
    ['vhost_user_store_path', 'valid_vhost_user_store_paths', '/var/run/kata-vhost', '/var/run/other'],
  ])('%s is taken from %s alone', (key, list, good, bad) => {
    const rules = host({ enable_annotations: [key], [list]: [good.replace('qemu-x', 'qemu-*').replace(/bin\/jailer$/, 'bin/*')] })
    expect(annotated({ hypervisor: { [key]: good } }, rules)).toEqual({ [`io.katacontainers.config.hypervisor.${key}`]: good })
    expect(() => annotated({ hypervisor: { [key]: bad } }, rules)).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED', field: `${ROOT}.hypervisor.${key}`, hint: expect.stringContaining(list) }),
    )
    const none = host({ enable_annotations: [key], valid_hypervisor_paths: [] })
    expect(() => annotated({ hypervisor: { [key]: good } }, none)).toThrow(expect.objectContaining({ code: 'UNSUPPORTED' }))
  })

  it.each<[KataMachineOptions, Rules['kind'], string]>([
    [{ sharedFs: 'inline-virtio-fs' }, 'go', 'sharedFs'],
    [{ sharedFs: 'virtio-fs-nydus' }, 'go', 'sharedFs'],
    [{ sharedFs: 'virtio-9p' }, 'rust', 'sharedFs'],
    [{ blockDeviceDriver: 'virtio-blk-pci' }, 'go', 'blockDeviceDriver'],
    [{ hypervisor: { block_device_driver: 'nvdimm' } }, 'rust', 'hypervisor.block_device_driver'],
    [{ hypervisor: { block_device_num_queues: 2 } }, 'go', 'hypervisor.block_device_num_queues'],
    [{ hypervisor: { hot_plug_vfio: 'root-port' } }, 'rust', 'hypervisor.hot_plug_vfio'],
    [{ agent: { cdh_api_timeout: 50 } }, 'rust', 'agent.cdh_api_timeout'],
    [{ runtime: { guest_selinux_label: 'x' } }, 'rust', 'runtime.guest_selinux_label'],
  ])('%j is nothing for the %s shim', (options, kind, field) => {
    const languages = /Go shim|runtime-rs/
    expect(() => annotated(options, open(kind))).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED', field: `${ROOT}.${field}`, message: expect.stringMatching(languages) }),
    )
  })

  it('are refused where no configuration is found', () => {
    expect(() => translate(configOf({ hypervisor: { default_vcpus: 2 } }), { config: undefined, kind: 'go' })).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED' }),
    )
  })

  it('are confidential where the configuration is', () => {
    const confidential = host({ confidential_guest: true })
    expect(annotated({ confidential: true }, confidential)).toBeUndefined()
    expect(() => annotated({ confidential: false }, confidential)).toThrow(expect.objectContaining({ code: 'UNSUPPORTED' }))
  })

  it('are checked again where a machine comes from elsewhere', () => {
    const moved = translate(configOf({ hypervisor: { default_vcpus: 2 } }), host())
    expect(() => checkAgain(moved, host())).not.toThrow()
    expect(() => checkAgain(moved, host({ enable_annotations: [] }))).toThrow(expect.objectContaining({ code: 'UNSUPPORTED' }))
  })
})

it.each<[object, string]>([
  [{ networks: ['host'] }, 'config.networks.0'],
  [{ devices: [{ type: 'host', path: '/dev/fuse' }] }, 'config.devices.0'],
  [{ driverOptions: { kata: { pidMode: 'host' } } }, 'config.driverOptions.kata.pidMode'],
])('%j, which shares the host’s kernel, is refused', (config, field) => {
  expect(() => refuseHostSharing(parseConfig({ image: 'x', ...config } as never))).toThrow(
    expect.objectContaining({ code: 'UNSUPPORTED', field }),
  )
})

describe('what does not come into a guest is refused', () => {
  const config = (given: object) => parseConfig({ command: ['x'], ...given } as never)
  const firecracker = kataConfigOf('/etc/kata.toml', { hypervisor: { firecracker: {} } })
  const unshared = kataConfigOf('/etc/kata.toml', { hypervisor: { qemu: { shared_fs: 'none' } } })

  it('a folder as the root file system', () => {
    for (const host of [firecracker, unshared])
      expect(() => refuseForGuest(config({ rootfs: '/srv/root' }), host, false)).toThrow(
        expect.objectContaining({ code: 'UNSUPPORTED', field: 'config.rootfs' }),
      )
    expect(() => refuseForGuest(config({ image: 'x' }), firecracker, false)).not.toThrow()
    expect(() => refuseForGuest(config({ rootfs: '/srv/root' }), open('go').config, false)).not.toThrow()
  })

  it('a stdin beside a logger', () => {
    expect(() => refuseForGuest(config({ image: 'x', stdin: true }), undefined, true)).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED', field: 'config.stdin' }),
    )
    expect(() => refuseForGuest(config({ image: 'x', stdin: true }), undefined, false)).not.toThrow()
  })
})
