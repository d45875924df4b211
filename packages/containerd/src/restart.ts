/**
 * Restart policies are containerd's own restart monitor's, which reads labels of containers (its package runtime/restart). It
 * looks every ten seconds unless its configuration says otherwise.
 */
import { type CallContext, type MachineConfig, VMKitError } from '@vmkit/core/driver'
import type { Host } from './host.js'

export async function hasRestartMonitor(host: Host, { signal }: CallContext): Promise<boolean> {
  const containerd = await host.containerd()
  const { plugins } = await containerd.introspection.plugins({ filters: ['type==io.containerd.internal.v1,id==restart'] }, { signal })
  return plugins.some(({ initErr }) => initErr === undefined)
}

export async function restartLabels(host: Host, { restart }: MachineConfig, _ctx: CallContext): Promise<Record<string, string>> {
  if (!restart || restart.policy === 'no') return {}
  throw new VMKitError('UNSUPPORTED', 'not yet', { driver: host.driver, field: 'config.restart' })
}
