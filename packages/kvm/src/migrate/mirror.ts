/** Copies the disks of a running machine to the target's QEMU, over NBD, and keeps them equal until the machine is there. */
import { type CallContext, VMKitError } from '@vmkit/core/driver'
import { abortReason, DRIVER } from '../errors.js'
import type { Qmp } from '../qmp/client.js'
import type { Address } from './wire.js'

export interface Mirror {
  /** The guest must stand still. When it resolves, both sides are equal and apart. */
  finish(): Promise<void>
  /** After a failure; harmless when there is nothing. */
  cancel(): Promise<void>
  bytes(): Promise<number>
}

export interface MirrorPlan {
  /** Node names by disk. */
  nodes: Record<string, string>
  to: Address
  tls?: { credentials: string; hostname: string }
  bandwidth?: number
}

interface Job {
  device: string
  offset: number
  len: number
}

/** Resolves when the disks are equal, but for what the guest goes on writing. */
export async function startMirror(qmp: Qmp, { nodes, to, tls, bandwidth }: MirrorPlan, ctx: CallContext): Promise<Mirror> {
  const server = 'path' in to ? { type: 'unix', path: to.path } : { type: 'inet', host: to.host, port: String(to.port) }
  const started: string[] = []
  const jobOf = (disk: string): string => `mirror-${disk}`
  const nodeOf = (disk: string): string => `mirror-to-${disk}`
  const jobs = async (): Promise<Job[]> => {
    const all = await qmp.execute<Job[]>('query-block-jobs')
    return all.filter(({ device }) => device.startsWith('mirror-'))
  }
  async function cancel(): Promise<void> {
    const over = untilJobs(qmp, started.map(jobOf), ['BLOCK_JOB_CANCELLED', 'BLOCK_JOB_COMPLETED'], new AbortController().signal)
    for (const disk of started) await qmp.execute('block-job-cancel', { device: jobOf(disk), force: true }).catch(() => {})
    if ((await jobs()).length > 0) await over
    else over.catch(() => {})
    for (const disk of Object.keys(nodes)) await qmp.execute('blockdev-del', { 'node-name': nodeOf(disk) }).catch(() => {})
  }
  try {
    for (const [disk, node] of Object.entries(nodes)) {
      await qmp.execute('blockdev-add', {
        driver: 'nbd',
        'node-name': nodeOf(disk),
        server,
        export: disk,
        ...(tls ? { 'tls-creds': tls.credentials, 'tls-hostname': tls.hostname } : {}),
      })
      const ready = untilJobs(qmp, [jobOf(disk)], ['BLOCK_JOB_READY'], ctx.signal)
      ready.catch(() => {})
      await qmp.execute('blockdev-mirror', {
        'job-id': jobOf(disk),
        device: node,
        target: nodeOf(disk),
        sync: 'full',
        ...(bandwidth === undefined ? {} : { speed: bandwidth }),
      })
      started.push(disk)
      const timer = setInterval(() => {
        jobs().then(
          (all) => {
            for (const { device, offset, len } of all)
              ctx.report({ phase: 'disk', item: device.slice('mirror-'.length), current: offset, total: len, unit: 'bytes' })
          },
          () => {},
        )
      }, 200)
      try {
        await ready
      } finally {
        clearInterval(timer)
      }
    }
  } catch (error) {
    await cancel().catch(() => {})
    throw error
  }
  return {
    cancel,
    bytes: async () => (await jobs()).reduce((sum, { offset }) => sum + offset, 0),
    async finish() {
      const over = untilJobs(qmp, started.map(jobOf), ['BLOCK_JOB_COMPLETED'], ctx.signal)
      // A mirror that is ready ends by this whole, and does not take the target's disk for its own.
      for (const disk of started) await qmp.execute('block-job-cancel', { device: jobOf(disk) })
      await over
      for (const disk of started) await qmp.execute('blockdev-del', { 'node-name': nodeOf(disk) }).catch(() => {})
      started.length = 0
    },
  }
}

/** Resolves when each job has told one of the events. */
async function untilJobs(qmp: Qmp, names: readonly string[], wanted: readonly string[], signal: AbortSignal): Promise<void> {
  const left = new Set(names)
  if (left.size === 0) return
  const reader = qmp.events()[Symbol.asyncIterator]()
  const abort = (): void => void reader.return?.()
  signal.addEventListener('abort', abort, { once: true })
  try {
    for (;;) {
      const { value, done } = await reader.next()
      if (done)
        throw signal.aborted ? abortReason(signal) : new VMKitError('ABORTED', 'The connection to QEMU was closed', { driver: DRIVER })
      const { event, data } = value
      const device = String(data.device)
      if (!left.has(device)) continue
      if (wanted.includes(event)) left.delete(device)
      else if (event === 'BLOCK_JOB_COMPLETED' || event === 'BLOCK_JOB_CANCELLED')
        throw new VMKitError('BACKEND_ERROR', `The copy of ${device} ended: ${String(data.error ?? 'it was cancelled')}`, {
          driver: DRIVER,
        })
      if (left.size === 0) return
    }
  } finally {
    signal.removeEventListener('abort', abort)
    void reader.return?.()
  }
}
