import { parseConfig, type VMConfig } from '@vmkit/core'
import { describe, expect, it } from 'vitest'
import { containerSpec } from './container-config.js'
import { compareVersions } from './engine.js'

const engine = (api: string) => ({ atLeast: (wanted: string) => compareVersions(api, wanted) >= 0 })
const spec = (config: VMConfig, api = '1.41') =>
  containerSpec(parseConfig({ name: 'web', image: 'app', ...config }), 'app', { mark: 'yes' }, engine(api))
const body = (config: VMConfig, api?: string) => spec(config, api).body as Record<string, unknown> & { HostConfig: Record<string, unknown> }

describe('container config', () => {
  it('maps resources to the exact units of the engine', () => {
    expect(body({ cpus: 1.5, memory: '256MiB', pids: 50 }).HostConfig).toMatchObject({
      NanoCpus: 1.5e9,
      Memory: 2 ** 28,
      MemorySwap: 2 ** 28,
      PidsLimit: 50,
    })
  })

  it('leaves ENTRYPOINT and CMD to the image unless they are given', () => {
    expect(body({})).not.toHaveProperty('Entrypoint')
    expect(body({ command: ['sh'], args: ['-c', 'x'] })).toMatchObject({ Entrypoint: ['sh'], Cmd: ['-c', 'x'] })
  })

  it('publishes ports on loopback, host 0 as any free one', () => {
    const { HostConfig, ExposedPorts } = body({ ports: [{ guest: 80 }, { guest: 53, host: 5353, protocol: 'udp', hostIp: '0.0.0.0' }] })
    expect(HostConfig.PortBindings).toEqual({
      '80/tcp': [{ HostIp: '127.0.0.1', HostPort: '' }],
      '53/udp': [{ HostIp: '0.0.0.0', HostPort: '5353' }],
    })
    expect(ExposedPorts).toEqual({ '80/tcp': {}, '53/udp': {} })
  })

  it('joins all networks at once from API 1.44 on, and the first alone before', () => {
    const config: VMConfig = { networks: [{ name: 'a', aliases: ['db'], ip: '10.0.0.2' }, 'b'] }
    expect(spec(config).laterNetworks.map(({ name }) => name)).toEqual(['b'])
    expect(spec(config, '1.45').laterNetworks).toEqual([])
    expect(body(config, '1.45').NetworkingConfig).toEqual({
      EndpointsConfig: { a: { Aliases: ['db'], IPAMConfig: { IPv4Address: '10.0.0.2' } }, b: {} },
    })
  })

  it('asks for GPUs, CDI and host devices', () => {
    expect(body({ devices: [{ type: 'gpu', count: 2, capabilities: ['compute'] }] }).HostConfig.DeviceRequests).toEqual([
      { Count: 2, Capabilities: [['gpu', 'compute']] },
    ])
    expect(body({ devices: [{ type: 'cdi', name: 'vendor.com/gpu=0' }] }, '1.45').HostConfig.DeviceRequests).toEqual([
      { Driver: 'cdi', DeviceIDs: ['vendor.com/gpu=0'] },
    ])
    expect(body({ devices: [{ type: 'host', path: '/dev/fuse', permissions: 'rw' }] }).HostConfig.Devices).toEqual([
      { PathOnHost: '/dev/fuse', PathInContainer: '/dev/fuse', CgroupPermissions: 'rw' },
    ])
  })

  it('maps what only Docker has', () => {
    const docker = {
      capDrop: ['ALL'],
      readOnlyRootfs: true,
      init: true,
      runtime: 'crun',
      tmpfs: { '/tmp': 'size=1m' },
      healthcheck: { test: ['CMD', 'true'], intervalMs: 500 },
    }
    const mapped = body({ driverOptions: { docker } })
    expect(mapped.HostConfig).toMatchObject({
      CapDrop: ['ALL'],
      ReadonlyRootfs: true,
      Init: true,
      Runtime: 'crun',
      Tmpfs: { '/tmp': 'size=1m' },
    })
    expect(mapped.Healthcheck).toMatchObject({ Test: ['CMD', 'true'], Interval: 5e8 })
  })

  const refusals: [string, VMConfig, string, string][] = [
    ['CDI on an old engine', { devices: [{ type: 'cdi', name: 'vendor.com/gpu=0' }] }, 'UNSUPPORTED', 'config.devices.0.type'],
    ['a PCI device', { devices: [{ type: 'pci', address: '0000:3b:00.0' }] }, 'UNSUPPORTED', 'config.devices.0.type'],
    [
      'a second MAC address on an old engine',
      { networks: ['a', { name: 'b', mac: '02:00:00:00:00:01' }] },
      'UNSUPPORTED',
      'config.networks.1.mac',
    ],
    ['ports of the host network', { networks: ['host'], ports: [{ guest: 80 }] }, 'UNSUPPORTED', 'config.ports'],
    ['the host network and another', { networks: ['host', 'a'] }, 'UNSUPPORTED', 'config.networks.0'],
    ['retries without on-failure', { restart: { policy: 'always', maxRetries: 3 } }, 'UNSUPPORTED', 'config.restart.maxRetries'],
    ['a count of GPUs beside their ids', { devices: [{ type: 'gpu', count: 1, ids: ['0'] }] }, 'INVALID_CONFIG', 'config.devices.0.count'],
    [
      'an unknown option',
      { driverOptions: { docker: { privilegd: true } } } as unknown as VMConfig,
      'INVALID_CONFIG',
      'config.driverOptions.docker.privilegd',
    ],
  ]
  it.each(refusals)('refuses %s by its name', (_what, config, code, field) => {
    expect(() => spec(config)).toThrow(expect.objectContaining({ code, field }))
  })
})
