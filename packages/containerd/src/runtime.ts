import type { Containerd } from './grpc/connection.js'
import type { AnyInit } from './grpc/messages.js'
import type { Host } from './host.js'

/** What the shim is told: the variation's own, or which OCI runtime the shim of runc is to run. */
export function runtimeOptions({ variation, options }: Host, containerd: Containerd): AnyInit | undefined {
  if (variation.runtimeOptions) return variation.runtimeOptions
  return options.binary === undefined ? undefined : containerd.pack('containerd.runc.v1.Options', { binaryName: options.binary })
}
