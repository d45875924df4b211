/**
 * What one QEMU process should be, as plain data. `arguments.ts` turns it into a command line; nothing here does I/O.
 * Files of the machine's own folder are bare names (see `state/machine-folder.ts`), all others absolute paths.
 */

export type MachineType = 'q35' | 'pc' | 'microvm'
export type Accelerator = 'kvm' | 'tcg'

/** Where the bytes of a chardev go. */
export type Chardev =
  /** QEMU listens on a UNIX socket; one client at a time; what nobody reads is dropped, or kept in `log`. */
  | { kind: 'socket'; path: string; log?: string }
  /** QEMU appends to a file, or starts it anew. */
  | { kind: 'file'; path: string; append: boolean }
  | { kind: 'null' }

/** A virtio-serial port. The guest finds it as /dev/virtio-ports/NAME, or by /sys/class/virtio-ports/vport*`/name`. */
export interface ChannelSpec {
  /** Such as `org.qemu.guest_agent.0`. */
  name: string
  chardev: Chardev
}

export interface DiskSpec {
  /** Node name of the block device, and id of the guest's device with `-device` behind it. Letters, digits, `-`; starts with a letter. */
  id: string
  path: string
  format: 'qcow2' | 'raw'
  readOnly?: boolean
  /** Default `virtio`; `cdrom` is an ISO image in a drive that every guest knows (not on microvm: there it is a read-only virtio disk). */
  bus?: 'virtio' | 'cdrom'
  /** Told to the guest: /dev/disk/by-id/virtio-SERIAL. At most 20 bytes. */
  serial?: string
  /** Firmware boots from the lowest first. */
  bootIndex?: number
  /** PCI Express port that it sits in, and can be pulled from. */
  port?: string
}

export interface PortForward {
  protocol: 'tcp' | 'udp'
  hostIp: string
  host: number
  guest: number
}

export type NicBackend =
  /** QEMU's own user-mode network (slirp): needs no privileges; the guest is 10.0.2.15, the host 10.0.2.2, DNS 10.0.2.3. */
  | { kind: 'user'; forwards: PortForward[]; restrict?: boolean }
  | { kind: 'tap'; ifname: string; vhost?: boolean }
  | { kind: 'bridge'; bridge: string; helper?: string }
  /** A switch such as DPDK's, on a UNIX socket; needs shared memory. */
  | { kind: 'vhost-user'; path: string; queues?: number }

export interface NicSpec {
  /** Node name of the netdev; `<id>-device` is the guest's device. */
  id: string
  mac: string
  backend: NicBackend
  port?: string
}

export interface ShareSpec {
  /** Mount tag in the guest. */
  tag: string
  source: string
  readOnly: boolean
  /** Of a process that serves it by virtiofs, which needs shared memory; absent: QEMU itself serves it by 9p. */
  socket?: string
}

export interface MemorySpec {
  bytes: number
  /**
   * Where the guest's memory lives: anonymous (default); a memory file shared with others (vhost-user); or a file, `share: false`
   * for a private copy of a template.
   */
  backend?: { kind: 'memfd'; share: boolean; hugepages?: boolean } | { kind: 'file'; path: string; share: boolean; hugepages?: boolean }
}

export interface CpuSpec {
  /** Such as `qemu64`, `max`, `host`, with `,+feature` where wanted. Absent: QEMU's own default. */
  model?: string
  count: number
  /** vCPUs that can be plugged in while it runs; at least `count`. */
  maxCount?: number
  sockets?: number
  cores?: number
  threads?: number
}

export interface MachineSpec {
  /** UUID of the machine; the guest sees it too. */
  uuid: string
  machine: {
    type: MachineType /** The versioned name, such as `pc-q35-7.2`, where a saved machine needs the very same. */
    version?: string /** Further properties of `-machine`, such as `{ 'x-ignore-shared': 'on' }`. */
    properties?: Record<string, string>
  }
  accel: Accelerator
  cpu: CpuSpec
  memory: MemorySpec
  kernel?: { path: string; initrd?: string; cmdline: string }
  /** Firmware files of UEFI; absent: the machine type's own BIOS. */
  firmware?: { code: string; variables: string }
  disks: DiskSpec[]
  nics: NicSpec[]
  channels: ChannelSpec[]
  shares: ShareSpec[]
  /** Host PCI functions by address. */
  pci: { id: string; address: string; port?: string }[]
  /** First serial port. */
  console: Chardev
  vnc?: { path: string; password: boolean }
  /** Free PCI Express ports of a q35 for devices that come later. */
  hotplugPorts: number
  /** `defer`, or a migration URI. QEMU then waits for a machine instead of starting one. */
  incoming?: string
  /** Waits for `cont` before the first instruction. */
  paused?: boolean
  /** A guest that resets itself ends. */
  noReboot?: boolean
  /** Default true. What a balloon takes from a machine that maps a template would be gone for all that map it. */
  balloon?: boolean
  /** Further `-object` and `-device` as QMP would take them. */
  objects?: Record<string, unknown>[]
  devices?: Record<string, unknown>[]
  /** Checked extra arguments, as they are. */
  extra: string[]
}

/** What every program of an image starts with. */
export interface ImageProcess {
  /** NAME=value. */
  env: string[]
  /** Name or number, with `:group`; '' is root. */
  user: string
  workdir: string
}

/**
 * What `prepareBoot` makes of a config at create, kept in the record: the part of the spec that says what the machine boots.
 * Everything in it is plain JSON.
 */
export interface BootPlan {
  kind: 'image' | 'rootfs' | 'disk' | 'kernel' | 'none'
  kernel?: MachineSpec['kernel']
  firmware?: MachineSpec['firmware']
  disks: DiskSpec[]
  channels: ChannelSpec[]
  /** Whether the guest is known to bring the guest agent; `unknown` for disks and kernels of the user: then it is asked. */
  agent: 'yes' | 'no' | 'unknown'
  /** Digest of the manifest of the image it was made from. */
  imageDigest?: string
  /** Only for machines of the vmkit guest. */
  process?: ImageProcess
  /** The image's own stop signal, where it has one. */
  stopSignal?: string
  /** Whether `exit.json`, `stdout.log` and `stderr.log` will be written (OCI boot). */
  reportsExit: boolean
  /** A guest that resets itself ends, as one whose kernel panics or cannot power off does. */
  noReboot?: boolean
}
