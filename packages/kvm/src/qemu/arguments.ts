/**
 * A machine's spec as QEMU's command line. JSON wherever QEMU takes it, so that no comma, quote or space of a path or a name
 * is read as syntax; `-chardev` takes none, there commas are doubled. Source: qemu(1).
 */
import type { Chardev, DiskSpec, MachineSpec, NicSpec } from './machine-spec.js'

const MIB = 2 ** 20

export function machineArguments(spec: MachineSpec): string[] {
  const bus = busOf(spec)
  return [
    ...['-no-user-config', '-nodefaults', '-display', 'none', '-nographic'].slice(0, 4),
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
    ...chardev('events', `pipe,id=events,path=events`),
    ...['-mon', 'chardev=events,mode=control'],
    ...chardev('qmp', 'socket,id=qmp,path=qmp.sock,server=on,wait=off'),
    ...['-mon', 'chardev=qmp,mode=control'],
    ...['-chardev', chardevOption('console', spec.console), '-serial', 'chardev:console'],
    ...(spec.objects ?? []).flatMap((object) => ['-object', JSON.stringify(object)]),
    ...hotplugPorts(spec),
    ...spec.disks.flatMap((disk) => diskArguments(disk, spec, bus)),
    ...spec.nics.flatMap((nic) => nicArguments(nic, bus)),
    ...channelArguments(spec, bus),
    ...spec.shares.flatMap(({ tag, source, readOnly }) => [
      '-fsdev',
      `local,id=${tag},path=${commas(source)},security_model=none${readOnly ? ',readonly=on' : ''}`,
      ...device({ driver: `virtio-9p-${bus}`, fsdev: tag, mount_tag: tag, id: `${tag}-device` }),
    ]),
    ...spec.pci.flatMap(({ id, address }) => device({ driver: 'vfio-pci', host: address, id })),
    // Memory statistics and live resizing, a source of entropy for the boot, and word of a panic.
    ...device({ driver: `virtio-balloon-${bus}`, id: 'balloon' }),
    ...['-object', JSON.stringify({ 'qom-type': 'rng-random', id: 'entropy', filename: '/dev/urandom' })],
    ...device({ driver: `virtio-rng-${bus}`, rng: 'entropy', id: 'rng' }),
    ...(spec.machine.type === 'microvm' ? [] : device({ driver: 'pvpanic', id: 'pvpanic' })),
    ...displayArguments(spec),
    ...(spec.devices ?? []).flatMap(device),
    ...spec.extra,
  ]
}

/** How virtio devices are plugged in: microvm has no PCI. */
function busOf({ machine }: MachineSpec): 'pci' | 'device' {
  return machine.type === 'microvm' ? 'device' : 'pci'
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

function bootArguments({ kernel, firmware, machine }: MachineSpec): string[] {
  const uefi = firmware
    ? [
        ...blockdev({ driver: 'file', filename: firmware.code, 'node-name': 'firmware-code', 'read-only': true }),
        ...blockdev({ driver: 'file', filename: firmware.variables, 'node-name': 'firmware-variables' }),
        ...['-machine', 'pflash0=firmware-code,pflash1=firmware-variables'],
      ]
    : []
  if (!kernel) return uefi
  const { path, initrd, cmdline } = kernel
  void machine
  return [...uefi, '-kernel', path, ...(initrd === undefined ? [] : ['-initrd', initrd]), ...(cmdline === '' ? [] : ['-append', cmdline])]
}

function diskArguments(disk: DiskSpec, { machine }: MachineSpec, bus: 'pci' | 'device'): string[] {
  const { id, path, format, readOnly = false, serial, bootIndex } = disk
  const isCdrom = disk.bus === 'cdrom' && machine.type !== 'microvm'
  return [
    ...blockdev({
      driver: format,
      'node-name': id,
      'read-only': readOnly || isCdrom,
      ...(readOnly || isCdrom ? {} : { discard: 'unmap' }),
      file: { driver: 'file', filename: path },
    }),
    ...device({
      driver: isCdrom ? 'ide-cd' : `virtio-blk-${bus}`,
      drive: id,
      id: `${id}-device`,
      ...(serial === undefined ? {} : { serial }),
      ...(bootIndex === undefined || machine.type === 'microvm' ? {} : { bootindex: bootIndex }),
    }),
  ]
}

/** QEMU takes JSON for `-netdev` from 7.2 on. */
function nicArguments({ id, mac, backend }: NicSpec, bus: 'pci' | 'device'): string[] {
  const nic = device({ driver: `virtio-net-${bus}`, netdev: id, mac, id: `${id}-device` })
  const netdev = (value: Record<string, unknown>): string[] => ['-netdev', JSON.stringify({ id, ...value })]
  switch (backend.kind) {
    case 'user':
      return [
        ...netdev({
          type: 'user',
          ...(backend.restrict ? { restrict: true } : {}),
          hostfwd: backend.forwards.map(({ protocol, hostIp, host, guest }) => ({ str: `${protocol}:${hostIp}:${host}-:${guest}` })),
        }),
        ...nic,
      ]
    case 'tap':
      return [...netdev({ type: 'tap', ifname: backend.ifname, script: 'no', downscript: 'no', ...(backend.vhost ? { vhost: true } : {}) }), ...nic]
    case 'bridge':
      return [...netdev({ type: 'bridge', br: backend.bridge, ...(backend.helper === undefined ? {} : { helper: backend.helper }) }), ...nic]
    case 'vhost-user':
      return [
        ...['-chardev', `socket,id=${id}-socket,path=${commas(backend.path)}`],
        ...netdev({ type: 'vhost-user', chardev: `${id}-socket`, ...(backend.queues === undefined ? {} : { queues: backend.queues }) }),
        ...nic,
      ]
  }
}

function channelArguments({ channels }: MachineSpec, bus: 'pci' | 'device'): string[] {
  if (channels.length === 0) return []
  return [
    ...device({ driver: `virtio-serial-${bus}`, id: 'channels', max_ports: channels.length + 1 }),
    ...channels.flatMap(({ name, chardev: target }, index) => [
      ...['-chardev', chardevOption(`channel${index}`, target)],
      // Port 0 is the console's; a number of one's own keeps the guest's view the same after a migration.
      ...device({ driver: 'virtserialport', bus: 'channels.0', nr: index + 1, chardev: `channel${index}`, name, id: `channel${index}-device` }),
    ]),
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

function chardev(_id: string, option: string): string[] {
  return ['-chardev', option]
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
