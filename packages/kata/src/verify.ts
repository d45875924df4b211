/** Kata may say yes and do nothing: what it was told is looked at afterwards. */
import { type CallContext, limitOf, type ResizeRequest, type StopOptions, VMKitError } from '@vmkit/core/driver'
import type { Inner } from './inner.js'

/** How long a sandbox may take to be gone after SIGKILL: under emulation a guest takes seconds. */
const DEATH_MS = 30_000

/** SIGKILL is not over before the machine is. */
export async function verifiedKill(inner: Inner, id: string, signal: string, ctx: CallContext): Promise<void> {
  await inner.kill(id, signal, ctx)
  if (signal !== 'SIGKILL') return
  await within(
    DEATH_MS,
    ctx,
    (limited) => inner.wait(id, limited),
    () => swallowed(id, 'SIGKILL'),
  )
}

export async function verifiedStop(inner: Inner, id: string, options: StopOptions, ctx: CallContext): Promise<void> {
  await within(
    options.graceMs + DEATH_MS,
    ctx,
    (limited) => inner.stop(id, options, limited),
    () => swallowed(id, 'stop'),
  )
}

const swallowed = (vmId: string, what: string) =>
  new VMKitError('BACKEND_ERROR', `Kata took the ${what}, and the sandbox is still there`, {
    driver: 'kata',
    vmId,
    retryable: true,
    hint: "The hypervisor's process may have to be ended by hand",
  })

async function within<T>(ms: number, ctx: CallContext, run: (ctx: CallContext) => Promise<T>, late: () => VMKitError): Promise<T> {
  using limit = limitOf(ctx.signal, ms)
  try {
    return await run({ ...ctx, signal: limit.signal })
  } catch (error) {
    throw limit.isOver() ? late() : error
  }
}

/** Where a container sees its own limits: cgroup v2, then v1. */
const FILES = {
  memory: ['/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes'],
  cpus: ['/sys/fs/cgroup/cpu.max', '/sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us'],
  pids: ['/sys/fs/cgroup/pids.max', '/sys/fs/cgroup/pids/pids.max'],
} as const

type Limit = keyof typeof FILES

/**
 * Resizes, and reads the limits inside the guest. What does not hold there is told, and what is kept of the machine is what held before.
 * @throws VMKitError `GUEST_ERROR` when the image has no `cat` or the guest has other limits
 */
export async function verifiedResize(inner: Inner, id: string, request: ResizeRequest, ctx: CallContext): Promise<void> {
  const before = (await inner.getInfo(id, ctx)).config
  await inner.resize(id, request, ctx)
  try {
    for (const limit of ['memory', 'cpus', 'pids'] as const) {
      const wanted = request[limit]
      if (wanted !== undefined) await verifyLimit(inner, id, limit, wanted, ctx)
    }
  } catch (error) {
    const back = Object.fromEntries(
      Object.keys(request).flatMap((key) => (before?.[key as Limit] === undefined ? [] : [[key, before[key as Limit]]])),
    )
    if (Object.keys(back).length > 0) await inner.resize(id, back, ctx).catch(() => {})
    throw error
  }
}

async function verifyLimit(inner: Inner, id: string, limit: Limit, wanted: number, ctx: CallContext): Promise<void> {
  const answers: string[] = []
  for (const paths of FILES[limit]) {
    const text = await readInside(inner, id, paths.split(' '), ctx)
    if (text === undefined) continue
    answers.push(text)
    if (holds(limit, wanted, text)) return
  }
  const found =
    answers.length === 0
      ? 'the limits cannot be read in the guest: the image has no `cat`, or no cgroup is mounted'
      : `the guest has ${answers[0]}`
  throw new VMKitError('GUEST_ERROR', `Kata took the resize of ${limit} to ${wanted}, but ${found}`, {
    driver: 'kata',
    operation: 'resize',
    vmId: id,
    field: limit,
  })
}

/** A page of memory and a hundredth of a CPU are how exact the kernel is. */
export function holds(limit: Limit, wanted: number, text: string): boolean {
  const [first = 0, second = 100_000] = text.trim().split(/\s+/).map(Number)
  if (limit === 'cpus') return Math.abs(first / second - wanted) < 0.01
  if (limit === 'memory') return Math.abs(first - wanted) <= 65_536
  return first === wanted
}

/** What an exec of a program that is not there may come out as. */
const READ_FAILURES: ReadonlySet<string> = new Set(['GUEST_ERROR', 'BACKEND_ERROR', 'INVALID_CONFIG', 'NOT_FOUND'])

async function readInside(inner: Inner, id: string, paths: readonly string[], ctx: CallContext): Promise<string | undefined> {
  const session = await inner.execStream(id, { command: ['cat', ...paths], user: '0' }, ctx).catch((error: unknown) => {
    if (error instanceof VMKitError && READ_FAILURES.has(error.code)) return undefined
    throw error
  })
  if (!session) return undefined
  let text = ''
  const decoder = new TextDecoder()
  for await (const { data, source } of session.output) if (source === 'stdout') text += decoder.decode(data, { stream: true })
  return (await session.wait()).exitCode === 0 ? text.trim() : undefined
}
