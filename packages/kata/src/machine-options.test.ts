import { parseConfig } from '@vmkit/core'
import { describe, expect, it } from 'vitest'
import { kataConfigOf } from './kata-config.js'
import { checkAgain, type KataMachineOptions, translate } from './machine-options.js'
import { refuseHostSharing } from './refusals.js'

const host = (section: Record<string, unknown> = {}) =>
  kataConfigOf('/etc/kata.toml', {
    hypervisor: {
      qemu: {
        path: '/usr/bin/qemu',
        enable_annotations: ['default_vcpus', '^default_mem', 'path'],
        valid_hypervisor_paths: ['/usr/bin/qemu*'],
        ...section,
      },
    },
  })
const configOf = (kata: object) => parseConfig({ name: 'm', image: 'x', driverOptions: { kata } } as never)
const annotated = (kata: KataMachineOptions, config = host()) =>
  (translate(configOf(kata), config).driverOptions.kata as KataMachineOptions).annotations

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

  it('leave the options of containerd as they are', () => {
    expect(translate(configOf({ hostname: 'h', agent: { container_pipe_size: 1 } }), undefined).driverOptions.kata).toEqual({
      hostname: 'h',
      annotations: { 'io.katacontainers.config.agent.container_pipe_size': '1' },
    })
    expect(translate(configOf({ hostname: 'h' }), undefined).driverOptions.kata).toEqual({ hostname: 'h' })
  })

  it.each<[KataMachineOptions, string, string]>([
    [{ hypervisor: { kernel: '/k' } }, 'UNSUPPORTED', 'config.driverOptions.kata.hypervisor.kernel'],
    [{ hypervisor: { path: '/tmp/evil' } }, 'UNSUPPORTED', 'config.driverOptions.kata.hypervisor.path'],
    [{ hypervisor: { no_such: 1 } }, 'INVALID_CONFIG', 'config.driverOptions.kata.hypervisor.no_such'],
    [{ runtime: { no_such: 1 } }, 'INVALID_CONFIG', 'config.driverOptions.kata.runtime.no_such'],
    [{ sharedFs: 'virtio-9p' }, 'UNSUPPORTED', 'config.driverOptions.kata.sharedFs'],
    [{ initData: 'x' }, 'UNSUPPORTED', 'config.driverOptions.kata.initData'],
    [{ confidential: true }, 'UNSUPPORTED', 'config.driverOptions.kata.confidential'],
    [{ annotations: { 'io.katacontainers.config.hypervisor.kernel': '/k' } }, 'UNSUPPORTED', 'config.driverOptions.kata.annotations'],
    [{ annotations: { 'io.katacontainers.config_path': '/k' } }, 'INVALID_CONFIG', 'config.driverOptions.kata.annotations'],
    [{ networkModel: 'bridge' as never }, 'INVALID_CONFIG', 'config.driverOptions.kata.networkModel'],
  ])('%j is refused', (options, code, field) => {
    expect(() => annotated(options)).toThrow(expect.objectContaining({ code, field }))
  })

  it('are refused where no configuration is found', () => {
    expect(() => translate(configOf({ hypervisor: { default_vcpus: 2 } }), undefined)).toThrow(
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
