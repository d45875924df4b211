/**
 * A machine's spec as QEMU's command line. JSON wherever QEMU takes it, so that no comma, quote or space of a path or a name
 * is read as syntax; `-chardev` takes none, there commas are doubled. Source: qemu(1).
 */
import type { Chardev, DiskSpec, MachineSpec, MachineType, NicSpec, ShareSpec } from './machine-spec.js'

const MIB = 2 ** 20

export function machineArguments(spec: MachineSpec): string[] {
  const { type } = spec.machine
  const bus = transportOf(type)
  return [
    ...['-no-user-config', '-nodefaults', '-display', 'none'],
    ...['-uuid', spec.uuid],
    ...['-machine', machineOption(spec)],
    ...['-accel', spec.accel === 'tcg' ? 'tcg,thread=multi' : 'kvm'],
    ...(spec.cpu.model === undefined ? [] : ['-cpu', spec.cpu.model]),
    ...['-smp', smpOption(spec)],
    ...['-m', `size=${Math.ceil(spec.memory.bytes / MIB)}M`],
    ...memoryArguments(spec),
    ...(spec.paused ? ['-S'] : []),
    ...(spec.noReboot ? ['-no-reboot'] : []),
    ...(spec.incoming === undefined ? [] : ['-incoming', spec.incoming]),
    ...bootArguments(spec),
    // A pair of plain files: QEMU reads its one command from events.in, and writes all that happens to events.out.
    ...['-chardev', 'pipe,id=events,path=events', '-mon', 'chardev=events,mode=control'],
    ...['-chardev', 'socket,id=qmp,path=qmp.sock,server=on,wait=off', '-mon', 'chardev=qmp,mode=control'],
    ...['-chardev', chardevOption('console', spec.console), '-serial', 'chardev:console'],
    ...(spec.objects ?? []).flatMap((object) => ['-object', JSON.stringify(object)]),
    ...hotplugPorts(spec),
    ...spec.disks.flatMap((disk) => diskArguments(disk, type)),
    ...spec.nics.flatMap((nic) => nicArguments(nic, type)),
    ...channelArguments(spec, bus),
    ...spec.shares.flatMap((share) => shareArguments(share, bus)),
    ...spec.pci.flatMap((pci) => device(pciDevice(pci))),
    // Memory statistics and live resizing, a source of entropy for the boot, and word of a panic.
    ...(spec.balloon === false ? [] : device({ driver: `virtio-balloon-${bus}`, id: 'balloon' })),
    ...['-object', JSON.stringify({ 'qom-type': 'rng-random', id: 'entropy', filename: '/dev/urandom' })],
    ...device({ driver: `virtio-rng-${bus}`, rng: 'entropy', id: 'rng' }),
    ...(spec.machine.type === 'microvm' ? [] : device({ driver: 'pvpanic', id: 'pvpanic' })),
    ...displayArguments(spec),
    ...(spec.devices ?? []).flatMap(device),
    ...spec.extra,
  ]
}

/** How virtio devices are plugged in: microvm has no PCI. */
function transportOf(type: MachineType): 'pci' | 'device' {
  return type === 'microvm' ? 'device' : 'pci'
}

function machineOption({ machine, memory }: MachineSpec): string {
  const properties = { ...(memory.backend ? { 'memory-backend': 'memory' } : {}), ...machine.properties }
  return [machine.version ?? machine.type, ...Object.entries(properties).map(([key, value]) => `${key}=${commas(value)}`)].join(',')
}

function smpOption({ cpu }: MachineSpec): string {
  const { count, maxCount, sockets, cores, threads } = cpu
  const parts = Object.entries({ maxcpus: maxCount, sockets, cores, threads }).filter(([, value]) => value !== undefined)
  return [`cpus=${count}`, ...parts.map(([key, value]) => `${key}=${value}`)].join(',')
}

function memoryArguments({ memory }: MachineSpec): string[] {
  const { backend, bytes } = memory
  if (!backend) return []
  const size = Math.ceil(bytes / MIB) * MIB
  const common = { id: 'memory', size, share: backend.share }
  if (backend.kind === 'memfd') {
    return ['-object', JSON.stringify({ 'qom-type': 'memory-backend-memfd', ...common, ...(backend.hugepages ? { hugetlb: true } : {}) })]
  }
  return ['-object', JSON.stringify({ 'qom-type': 'memory-backend-file', ...common, 'mem-path': backend.path })]
}

function bootArguments({ kernel, firmware }: MachineSpec): string[] {
  const uefi = firmware
    ? [
        ...blockdev({ driver: 'raw', 'node-name': 'firmware-code', 'read-only': true, file: { driver: 'file', filename: firmware.code } }),
        ...blockdev({ driver: 'raw', 'node-name': 'firmware-variables', file: { driver: 'file', filename: firmware.variables } }),
        ...['-machine', 'pflash0=firmware-code,pflash1=firmware-variables'],
      ]
    : []
  if (!kernel) return uefi
  const { path, initrd, cmdline } = kernel
  return [...uefi, '-kernel', path, ...(initrd === undefined ? [] : ['-initrd', initrd]), ...(cmdline === '' ? [] : ['-append', cmdline])]
}

function diskArguments(disk: DiskSpec, type: MachineType): string[] {
  return [...blockdev(diskNode(disk, type)), ...device(diskDevice(disk, type))]
}

/** For `-blockdev` and `blockdev-add`. */
export function diskNode({ id, path, format, readOnly = false, bus }: DiskSpec, type: MachineType): Record<string, unknown> {
  const isReadOnly = readOnly || (bus === 'cdrom' && type !== 'microvm')
  return {
    driver: format,
    'node-name': id,
    'read-only': isReadOnly,
    ...(isReadOnly ? {} : { discard: 'unmap' }),
    file: { driver: 'file', filename: path },
  }
}

/** For `-device` and `device_add`. */
export function diskDevice({ id, bus, serial, bootIndex, port }: DiskSpec, type: MachineType): Record<string, unknown> {
  return {
    driver: bus === 'cdrom' && type !== 'microvm' ? 'ide-cd' : `virtio-blk-${transportOf(type)}`,
    drive: id,
    id: `${id}-device`,
    ...(serial === undefined ? {} : { serial }),
    ...(bootIndex === undefined || type === 'microvm' ? {} : { bootindex: bootIndex }),
    ...(port === undefined ? {} : { bus: port }),
  }
}

function nicArguments(nic: NicSpec, type: MachineType): string[] {
  const { id, backend } = nic
  return [
    ...(backend.kind === 'vhost-user' ? ['-chardev', `socket,id=${id}-socket,path=${commas(backend.path)}`] : []),
    // QEMU takes JSON here from 7.2 on.
    ...['-netdev', JSON.stringify(netdev(nic))],
    ...device(nicDevice(nic, type)),
  ]
}

export function nicDevice({ id, mac, port }: NicSpec, type: MachineType): Record<string, unknown> {
  return { driver: `virtio-net-${transportOf(type)}`, netdev: id, mac, id: `${id}-device`, ...(port === undefined ? {} : { bus: port }) }
}

/** For `-netdev` and `netdev_add`. */
export function netdev({ id, backend }: NicSpec): Record<string, unknown> {
  switch (backend.kind) {
    case 'user':
      return {
        id,
        type: 'user',
        ...(backend.restrict ? { restrict: true } : {}),
        hostfwd: backend.forwards.map(({ protocol, hostIp, host, guest }) => ({ str: `${protocol}:${hostIp}:${host}-:${guest}` })),
      }
    case 'tap':
      return { id, type: 'tap', ifname: backend.ifname, script: 'no', downscript: 'no', ...(backend.vhost ? { vhost: true } : {}) }
    case 'bridge':
      return { id, type: 'bridge', br: backend.bridge, ...(backend.helper === undefined ? {} : { helper: backend.helper }) }
    case 'vhost-user':
      return { id, type: 'vhost-user', chardev: `${id}-socket`, ...(backend.queues === undefined ? {} : { queues: backend.queues }) }
  }
}

export function pciDevice({ id, address, port }: MachineSpec['pci'][number]): Record<string, unknown> {
  return { driver: 'vfio-pci', host: address, id: `${id}-device`, ...(port === undefined ? {} : { bus: port }) }
}

function channelArguments({ channels }: MachineSpec, bus: 'pci' | 'device'): string[] {
  if (channels.length === 0) return []
  return [
    ...device({ driver: `virtio-serial-${bus}`, id: 'channels', max_ports: channels.length + 1 }),
    ...channels.flatMap(({ name, chardev: target }, index) => [
      ...['-chardev', chardevOption(`channel${index}`, target)],
      // Port 0 is the console's; a number of one's own keeps the guest's view the same after a migration.
      ...device({
        driver: 'virtserialport',
        bus: 'channels.0',
        nr: index + 1,
        chardev: `channel${index}`,
        name,
        id: `channel${index}-device`,
      }),
    ]),
  ]
}

function shareArguments({ tag, source, readOnly, socket }: ShareSpec, bus: 'pci' | 'device'): string[] {
  if (socket !== undefined) {
    return [
      ...['-chardev', `socket,id=${tag},path=${commas(socket)}`],
      ...device({ driver: `vhost-user-fs-${bus}`, chardev: tag, tag, id: `${tag}-device` }),
    ]
  }
  return [
    ...['-fsdev', `local,id=${tag},path=${commas(source)},security_model=none${readOnly ? ',readonly=on' : ''}`],
    ...device({ driver: `virtio-9p-${bus}`, fsdev: tag, mount_tag: tag, id: `${tag}-device` }),
  ]
}

/** A q35 takes new devices only in ports that were there at the start. */
function hotplugPorts({ machine, hotplugPorts: count }: MachineSpec): string[] {
  if (machine.type !== 'q35') return []
  return Array.from({ length: count }, (_, index) =>
    device({ driver: 'pcie-root-port', id: `hotplug${index}`, chassis: index + 1, slot: index + 1 }),
  ).flat()
}

function displayArguments({ vnc, machine }: MachineSpec): string[] {
  if (!vnc) return []
  return [
    ...(machine.type === 'microvm' ? [] : device({ driver: 'VGA', id: 'screen' })),
    ...['-vnc', `unix:${commas(vnc.path)}${vnc.password ? ',password=on' : ''}`],
  ]
}

function chardevOption(id: string, chardev: Chardev): string {
  if (chardev.kind === 'null') return `null,id=${id}`
  if (chardev.kind === 'file') return `file,id=${id},path=${commas(chardev.path)},append=${chardev.append ? 'on' : 'off'}`
  const log = chardev.log === undefined ? '' : `,logfile=${commas(chardev.log)},logappend=on`
  return `socket,id=${id},path=${commas(chardev.path)},server=on,wait=off${log}`
}

function device(value: Record<string, unknown>): string[] {
  return ['-device', JSON.stringify(value)]
}

function blockdev(value: Record<string, unknown>): string[] {
  return ['-blockdev', JSON.stringify(value)]
}

/** A comma within a value of QEMU's own option syntax is written twice. */
function commas(value: string): string {
  return value.replaceAll(',', ',,')
}
