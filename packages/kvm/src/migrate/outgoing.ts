/** One `migrate` of QEMU, from the command to its end; saving memory to a file is one, too. */
import { type CallContext, type Progress, VMKitError } from '@vmkit/core/driver'
import { abortReason, DRIVER } from '../errors.js'
import type { Qmp } from '../qmp/client.js'

/** What `query-migrate` tells. Times in milliseconds. */
export interface MigrationInfo {
  status?: string
  downtime?: number
  'total-time'?: number
  'error-desc'?: string
  ram?: { transferred: number; total: number; remaining: number }
}

export interface OutgoingOptions {
  uri: string
  /** Every capability that is not named is off. */
  capabilities?: readonly MigrationCapability[]
  /** In bytes a second. Default: as fast as it goes. */
  bandwidth?: number
  /** In milliseconds. */
  downtimeLimit?: number
  tlsCredentials?: string
  /** The name that the target's certificate must have. */
  tlsHostname?: string
  /** Moves on before all memory is there, after one round. The guest waits for what it misses. */
  postCopy?: boolean
  phase: Progress['phase']
  /** With `pause-before-switchover`: the guest stands still, and the last round waits for this. */
  onPaused?(): Promise<void>
  /** All is sent, or with post-copy enough of it: the guest stands still until the target is told to go on. */
  onSwitch?(): Promise<void>
}

export type MigrationCapability = 'x-ignore-shared' | 'postcopy-ram' | 'auto-converge' | 'pause-before-switchover'

const CAPABILITIES: readonly MigrationCapability[] = ['x-ignore-shared', 'postcopy-ram', 'auto-converge', 'pause-before-switchover']
/** QEMU's own default, 128 MiB/s, is far below what a local socket carries; 2^40 is as good as no limit. */
const UNLIMITED = 2 ** 40
const DOWNTIME_LIMIT_MS = 300
const PROGRESS_MS = 100
const OVER = new Set(['completed', 'failed', 'cancelled'])

/** Must be the same on both sides. */
export async function setCapabilities(qmp: Qmp, on: readonly MigrationCapability[] = []): Promise<void> {
  const states = [
    ...CAPABILITIES.map((capability) => ({ capability, state: on.includes(capability) })),
    { capability: 'events', state: true },
  ]
  await qmp.execute('migrate-set-capabilities', { capabilities: states })
}

/**
 * Resolves when the target has everything. After a failure or an abort the machine is as it was: QEMU stopped it at most for
 * the last round, and goes on with it.
 */
export async function migrate(qmp: Qmp, options: OutgoingOptions, ctx: Pick<CallContext, 'signal' | 'report'>): Promise<MigrationInfo> {
  const { uri, bandwidth = UNLIMITED, downtimeLimit = DOWNTIME_LIMIT_MS, tlsCredentials = '', tlsHostname = '' } = options
  const { signal } = ctx
  if (signal.aborted) throw abortReason(signal)
  await setCapabilities(qmp, options.capabilities)
  await qmp.execute('migrate-set-parameters', {
    'max-bandwidth': bandwidth,
    'downtime-limit': downtimeLimit,
    'tls-creds': tlsCredentials,
    'tls-hostname': tlsHostname,
  })
  const over = untilOver(qmp, options)
  over.catch(() => {})
  const query = (): Promise<MigrationInfo> => qmp.execute<MigrationInfo>('query-migrate')
  const cancel = (): void => void qmp.execute('migrate_cancel').catch(() => {})
  const timer = setInterval(
    () =>
      void query().then(
        (info) => tell(info, options.phase, ctx),
        () => {},
      ),
    PROGRESS_MS,
  )
  try {
    await qmp.execute('migrate', { uri })
    signal.addEventListener('abort', cancel, { once: true })
    if (signal.aborted) cancel()
    const status = await over
    const info = await query()
    if (status === 'completed') {
      tell(info, options.phase, ctx)
      return info
    }
    if (signal.aborted) throw abortReason(signal)
    throw new VMKitError(
      'BACKEND_ERROR',
      `The migration ${status === 'failed' ? 'failed' : 'was cancelled'}: ${info['error-desc'] ?? 'QEMU gives no reason'}`,
      {
        driver: DRIVER,
      },
    )
  } finally {
    clearInterval(timer)
    signal.removeEventListener('abort', cancel)
  }
}

/** Ends a migration that nobody waits for any more. */
export async function endMigration(qmp: Qmp): Promise<void> {
  const over = untilOver(qmp, {})
  over.catch(() => {})
  const { status = 'none' } = await qmp.execute<MigrationInfo>('query-migrate')
  if (status === 'none' || OVER.has(status)) return
  await qmp.execute('migrate_cancel')
  await over
}

type Steps = Pick<OutgoingOptions, 'postCopy' | 'onPaused' | 'onSwitch'>

async function untilOver(qmp: Qmp, { postCopy = false, onPaused, onSwitch }: Steps): Promise<string> {
  for await (const { event, data } of qmp.events()) {
    if (postCopy && event === 'MIGRATION_PASS' && Number(data.pass) >= 2) await qmp.execute('migrate-start-postcopy').catch(() => {})
    if (event !== 'MIGRATION') continue
    const status = String(data.status)
    // At once: every command that comes first is downtime.
    if (status === 'completed' || status === 'postcopy-active') await onSwitch?.()
    if (OVER.has(status)) return status
    if (status === 'pre-switchover') {
      try {
        await onPaused?.()
        await qmp.execute('migrate-continue', { state: 'pre-switchover' })
      } catch (error) {
        await qmp.execute('migrate_cancel').catch(() => {})
        throw error
      }
    }
  }
  throw new VMKitError('ABORTED', 'The connection to QEMU was closed during a migration', { driver: DRIVER })
}

function tell({ ram }: MigrationInfo, phase: string, ctx: Pick<CallContext, 'report'>): void {
  if (ram) ctx.report({ phase, current: ram.transferred, total: ram.transferred + ram.remaining, unit: 'bytes' })
}

/** On the side that receives: resolves when the machine is there, whole and not running yet. */
export async function untilArrived(qmp: Qmp, signal: AbortSignal): Promise<void> {
  const events = qmp.events()
  const { status } = await qmp.execute<{ status: string }>('query-status', {}, { signal })
  if (status !== 'inmigrate') return
  const reader = events[Symbol.asyncIterator]()
  try {
    for (;;) {
      const { value, done } = await orAbort(reader.next(), signal)
      if (done) throw new VMKitError('ABORTED', 'The connection to QEMU was closed while a machine arrived', { driver: DRIVER })
      if (value.event !== 'MIGRATION') continue
      if (value.data.status === 'completed') return
      if (value.data.status === 'failed') throw new VMKitError('BACKEND_ERROR', 'QEMU could not take the machine', { driver: DRIVER })
    }
  } finally {
    void reader.return?.()
  }
}

function orAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(abortReason(signal))
    if (signal.aborted) return abort()
    signal.addEventListener('abort', abort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
