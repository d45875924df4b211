import { describe, expect, it } from 'vitest'
import { machineArguments } from './arguments.js'
import { isAllowedExtra } from './extra.js'
import type { MachineSpec } from './machine-spec.js'

const spec = (rest: Partial<MachineSpec> = {}): MachineSpec => ({
  uuid: '00000000-0000-4000-8000-000000000000',
  machine: { type: 'q35' },
  accel: 'tcg',
  cpu: { count: 1 },
  memory: { bytes: 128 * 2 ** 20 },
  disks: [],
  nics: [],
  channels: [],
  shares: [],
  pci: [],
  console: { kind: 'null' },
  hotplugPorts: 0,
  extra: [],
  ...rest,
})

/** The values of one option. */
function values(args: readonly string[], option: string): string[] {
  return args.flatMap((argument, index) => (argument === option ? [args[index + 1] as string] : []))
}

const objects = (args: readonly string[], option: string): Record<string, unknown>[] =>
  values(args, option).map((value) => JSON.parse(value) as Record<string, unknown>)

describe('machineArguments', () => {
  it('keeps hostile paths as they are: JSON where QEMU takes it, doubled commas elsewhere', () => {
    const path = `/a,b "c" 'd'/x=y,file=/etc/passwd`
    const args = machineArguments(
      spec({
        disks: [{ id: 'disk', path, format: 'raw' }],
        channels: [{ name: 'a.0', chardev: { kind: 'file', path, append: true } }],
        vnc: { path, password: true },
        shares: [{ tag: 'tag', source: path, readOnly: true }],
      }),
    )
    expect(objects(args, '-blockdev')).toContainEqual(expect.objectContaining({ file: { driver: 'file', filename: path } }))
    const doubled = path.replaceAll(',', ',,')
    expect(values(args, '-chardev')).toContain(`file,id=channel0,path=${doubled},append=on`)
    expect(values(args, '-vnc')).toEqual([`unix:${doubled},password=on`])
    expect(values(args, '-fsdev')).toEqual([`local,id=tag,path=${doubled},security_model=none,readonly=on`])
  })

  it('gives a microvm devices without PCI, and no firmware boot order', () => {
    const disk = { id: 'disk', path: 'disk.qcow2', format: 'qcow2', bootIndex: 0 } as const
    const nic = { id: 'net0', mac: '52:54:00:00:00:01', backend: { kind: 'user', forwards: [] } } as const
    const drivers = (type: 'q35' | 'microvm') =>
      objects(
        machineArguments(spec({ machine: { type }, disks: [disk], nics: [{ ...nic, backend: { kind: 'user', forwards: [] } }] })),
        '-device',
      )
    expect(drivers('q35').map(({ driver }) => driver)).toEqual(expect.arrayContaining(['virtio-blk-pci', 'virtio-net-pci', 'pvpanic']))
    expect(drivers('microvm').map(({ driver }) => driver)).toEqual(expect.arrayContaining(['virtio-blk-device', 'virtio-net-device']))
    expect(drivers('microvm').every((device) => device.bootindex === undefined && device.driver !== 'pvpanic')).toBe(true)
  })

  it('publishes ports on the addresses that were asked for', () => {
    const forwards = [
      { protocol: 'tcp', hostIp: '127.0.0.1', host: 0, guest: 80 },
      { protocol: 'udp', hostIp: '0.0.0.0', host: 53, guest: 5353 },
    ] as const
    const [netdev] = objects(
      machineArguments(spec({ nics: [{ id: 'net0', mac: '', backend: { kind: 'user', forwards: [...forwards] } }] })),
      '-netdev',
    )
    expect(netdev).toEqual({ id: 'net0', type: 'user', hostfwd: [{ str: 'tcp:127.0.0.1:0-:80' }, { str: 'udp:0.0.0.0:53-:5353' }] })
  })

  it('maps taps, bridges, switches on shared memory, and functions of the host', () => {
    const args = machineArguments(
      spec({
        memory: { bytes: 2 ** 30, backend: { kind: 'memfd', share: true, hugepages: true } },
        nics: [
          { id: 'a', mac: 'm', backend: { kind: 'tap', ifname: 'tap0', vhost: true } },
          { id: 'b', mac: 'm', backend: { kind: 'bridge', bridge: 'br0' } },
          { id: 'c', mac: 'm', backend: { kind: 'vhost-user', path: '/run/switch.sock', queues: 2 } },
        ],
        pci: [{ id: 'gpu', address: '0000:3b:00.0', port: 'hotplug0' }],
        hotplugPorts: 1,
      }),
    )
    expect(objects(args, '-netdev')).toEqual([
      { id: 'a', type: 'tap', ifname: 'tap0', script: 'no', downscript: 'no', vhost: true },
      { id: 'b', type: 'bridge', br: 'br0' },
      { id: 'c', type: 'vhost-user', chardev: 'c-socket', queues: 2 },
    ])
    expect(objects(args, '-object')).toContainEqual({
      'qom-type': 'memory-backend-memfd',
      id: 'memory',
      size: 2 ** 30,
      share: true,
      hugetlb: true,
    })
    expect(values(args, '-machine')).toEqual(['q35,memory-backend=memory'])
    expect(objects(args, '-device')).toContainEqual({ driver: 'vfio-pci', host: '0000:3b:00.0', id: 'gpu-device', bus: 'hotplug0' })
  })

  it('tells the processor, its shape, and how many may be plugged in', () => {
    const args = machineArguments(spec({ cpu: { model: 'qemu64,+aes', count: 2, maxCount: 4, sockets: 1, cores: 2, threads: 2 } }))
    expect(values(args, '-cpu')).toEqual(['qemu64,+aes'])
    expect(values(args, '-smp')).toEqual(['cpus=2,maxcpus=4,sockets=1,cores=2,threads=2'])
  })
})

describe('isAllowedExtra', () => {
  it.each([[[]], [['-device', 'virtio-tablet-pci']], [['-usb', '-rtc', 'base=utc']]])('takes %j', (args) => {
    expect(isAllowedExtra(args)).toBe(true)
  })

  it.each([
    [['-qmp', 'stdio']],
    [['-monitor', 'stdio']],
    [['-daemonize']],
    [['-device']],
    [['-device', '-daemonize']],
    [['-sandbox', 'off']],
    [['-name', 'x']],
    [['virtio-tablet-pci']],
    [['-incoming', 'exec:reboot']],
  ])('refuses %j', (args) => {
    expect(isAllowedExtra(args)).toBe(false)
  })
})
