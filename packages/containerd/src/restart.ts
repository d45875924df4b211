/**
 * Restart policies are those of containerd's own restart monitor, which reads labels of containers (its package
 * runtime/restart). It looks every ten seconds unless the daemon's configuration says otherwise, and gives a task that it
 * starts nothing but a log URI: so such a machine has the logger, no terminal and no stdin.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { type CallContext, type MachineConfig, type VMExit, VMKitError } from '@vmkit/core/driver'
import { TASK_STATUS } from './grpc/enums.js'
import type { Plugin } from './grpc/generated/introspection_pb.js'
import { findMachine, type Host, type Machine, taskOf, unaborted, updateMachine } from './host.js'
import { loggerUri, missingLogger } from './logs/logger.js'

const PREFIX = 'containerd.io/restart.'
const STATUS = `${PREFIX}status`
const POLICY = `${PREFIX}policy`
const LOG_URI = `${PREFIX}loguri`
const COUNT = `${PREFIX}count`

/**
 * What the monitor has decided before the labels went, it does within this time: it looks and acts in one go (its `reconcile`), which
 * takes as long as one `delete` and one `start` of a task, about 100 ms, and on a busy host some times that.
 */
const SETTLE_MS = 1000

/** The plugin's type: until containerd 1.7, and from 2.0. */
const MONITORS = ['io.containerd.internal.v1', 'io.containerd.monitor.container.v1']

/** Finds the monitor among the daemon's plugins. */
export const MONITOR_FILTERS: readonly string[] = MONITORS.map((type) => `type==${type},id==restart`)

/** Why no policy can be honoured here; `undefined` when it can. */
async function missingRestartMonitor(host: Host, { signal }: CallContext): Promise<string | undefined> {
  const client = await host.looking()
  const { plugins } = await client.introspection.plugins({ filters: [...MONITOR_FILTERS] }, { signal })
  return missingMonitorAmong(plugins)
}

/** The same, by what plugins the daemon has. */
export function missingMonitorAmong(plugins: readonly Plugin[]): string | undefined {
  const monitor = plugins.find(({ type, id, initErr }) => id === 'restart' && MONITORS.includes(type) && initErr === undefined)
  if (!monitor) return "containerd's restart monitor (the plugin restart) is not enabled here"
  // Before 1.7 it reads no policy: it would start again what succeeded, and count nothing.
  if (!monitor.capabilities.includes('on-failure')) return "this containerd's restart monitor knows no policies; that of 1.7 and later does"
  return missingLogger()
}

/** The policy in the monitor's words; `undefined` for none. @throws VMKitError `UNSUPPORTED` naming the field */
export async function restartPolicy(host: Host, { restart, tty, stdin }: MachineConfig, ctx: CallContext): Promise<string | undefined> {
  if (!restart || restart.policy === 'no') return undefined
  const refuse = (field: string, reason: string): VMKitError =>
    new VMKitError('UNSUPPORTED', `The ${host.driver} driver cannot honour \`${field}\`: ${reason}`, {
      driver: host.driver,
      operation: 'create',
      field,
    })
  const missing = await missingRestartMonitor(host, ctx)
  if (missing !== undefined) throw refuse('config.restart', missing)
  if (tty) throw refuse('config.tty', 'the restart monitor gives a task no terminal')
  if (stdin) throw refuse('config.stdin', 'the restart monitor gives a task no stdin')
  if (restart.maxRetries !== undefined && restart.policy !== 'on-failure')
    throw refuse('config.restart.maxRetries', `retries are counted for the policy on-failure only, not for ${restart.policy}`)
  return policyOf(restart)
}

function policyOf({ policy, maxRetries }: NonNullable<MachineConfig['restart']>): string {
  return maxRetries === undefined || maxRetries === 0 ? policy : `${policy}:${maxRetries}`
}

/** From now on the monitor starts it again when it ends. */
export async function arm(host: Host, machine: Machine): Promise<void> {
  const { restart, tty } = machine.record.config
  if (!restart || restart.policy === 'no') return
  const { labels } = machine.container
  labels[STATUS] = 'running'
  labels[POLICY] = policyOf(restart)
  labels[LOG_URI] = loggerUri(host.options.stateDir, { file: machine.folder.log, cap: host.options.logs.maxBytes, tty })
  delete labels[COUNT]
  await updateMachine(host, machine, 'armed', [])
}

/** From now on it stays down. Resolves when the monitor starts nothing any more that it had decided before. */
export async function disarm(host: Host, { id, record }: Machine): Promise<void> {
  if (!record.config.restart || record.config.restart.policy === 'no') return
  for (;;) {
    const machine = await findMachine(host, id, unaborted())
    const { labels } = machine.container
    if (labels[STATUS] === undefined) return
    for (const label of [STATUS, POLICY, LOG_URI, COUNT]) delete labels[label]
    await updateMachine(host, machine, 'disarmed', [])
    const task = await taskOf(host, machine.containerId, unaborted(), id)
    if (task?.status === TASK_STATUS.running) return
    // Then again: to count, the monitor writes the container as it has read it, and may bring the labels back.
    await delay(SETTLE_MS)
  }
}

/** Whether the monitor keeps it running. */
export function isArmed({ container: { labels } }: Machine): boolean {
  return labels[STATUS] === 'running'
}

/** Whether the monitor will start a machine again that has ended like this. */
export function willRestart(machine: Machine, exit: VMExit): boolean {
  const { labels } = machine.container
  if (!isArmed(machine)) return false
  const [policy, most = '0'] = (labels[POLICY] ?? '').split(':')
  if (policy !== 'on-failure') return true
  return exit.code !== 0 && (most === '0' || Number(labels[COUNT] ?? 0) < Number(most))
}
