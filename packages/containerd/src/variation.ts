/** What another driver changes of this one. `@vmkit/kata` is this driver with a runtime of its own and fewer claims. */
import type { CallContext, CapabilityManifest, HostProbe, MachineConfig, MetricsReading, VMDriver } from '@vmkit/core/driver'
import type { ContainerdOptions } from './options.js'
import type { Spec } from './spec/types.js'

/** A message for the runtime: a containerd type name, and its protobuf bytes. */
export interface RuntimeOptions {
  typeUrl: string
  value: Uint8Array
}

export interface Variation {
  /** Registered name. Also the key of its `driverOptions`, and the mark on its machines: two drivers share no machine. */
  name: string
  isolation: VMDriver['isolation']
  /** Which capabilities of this driver the variation has. */
  capabilities: CapabilityManifest
  runtimeOptions?: RuntimeOptions
  /** Annotations of one machine's OCI spec. Throws what the runtime would ignore. */
  annotations?(config: MachineConfig): Readonly<Record<string, string>>
  /** The spec before it is stored, for what the runtime wants otherwise. */
  adaptSpec?(spec: Spec, config: MachineConfig): Spec
  /** Looks at the host after containerd was found, and may take capabilities back. */
  refineProbe?(probe: HostProbe, ctx: CallContext): Promise<HostProbe>
  /** Takes out of a reading what the runtime does not really report. */
  refineMetrics?(reading: MetricsReading): MetricsReading
  /** Options of the connection and the state that the variation fixes. */
  defaults?: ContainerdOptions
  /** Every process id that containerd tells is the hypervisor's: files and signals must go through the runtime alone. */
  sandboxed?: boolean
  /** The shim opens a plain log file at its start, not at its end: each run begins it anew. A logger appends. */
  overwritesLogs?: boolean
  /** `/etc/passwd` and `/etc/group` of a sandbox that runs, whose root file system this host must not mount a second time. */
  accounts?(id: string, ctx: CallContext): Promise<{ passwd: string; group: string }>
}
