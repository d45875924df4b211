import type { CallContext, VMExit } from '@vmkit/core/driver'
import type { Engine } from './engine.js'
import { hasCode } from './errors.js'
import { exitFrom, exitOf } from './inspect.js'
import { type Machines, notFound } from './machines.js'
import { timeOf } from './wire.js'

/** Two calls for a machine that has run: the engine's `not-running` cannot miss its end, and the details are asked for after it. */
export async function wait(machines: Machines, id: string, ctx: CallContext): Promise<VMExit> {
  if (!machines.hasRun(id)) {
    const { State } = await machines.inspect(id, ctx)
    const known = exitOf(State)
    if (known) return known
    if (!State.Running) return nextExit(machines, id, ctx)
  }
  const { engine, path } = await machines.at(id, ctx)
  const { StatusCode } = await engine.json<{ StatusCode: number }>({
    method: 'POST',
    path: `${path}/wait`,
    query: { condition: 'not-running' },
    signal: ctx.signal,
    context: { vmId: id },
  })
  return exitNow(machines, id, StatusCode, ctx)
}

/** What the engine keeps of the exit that its wait has told. */
async function exitNow(machines: Machines, id: string, code: number, ctx: CallContext): Promise<VMExit> {
  const container = await machines.inspect(id, ctx).catch((error: unknown) => {
    if (hasCode(error, 'NOT_FOUND')) return undefined
    throw error
  })
  const complete = container && exitOf(container.State)
  return complete ?? exitFrom(code, null, container ? timeOf(container.State.FinishedAt) : null)
}

/**
 * For one that has not run yet: the engine's wait is armed before the state is read, so that an exit in between is not missed.
 * When it is removed, Docker answers a wait for its exit as well, with code 0: whether it ran then, its start tells.
 */
async function nextExit(machines: Machines, id: string, ctx: CallContext): Promise<VMExit> {
  const { engine, path } = await machines.at(id, ctx)
  const controller = new AbortController()
  const signal = AbortSignal.any([ctx.signal, controller.signal])
  const arm = (condition: string) =>
    engine.stream({ method: 'POST', path: `${path}/wait`, query: { condition }, signal, context: { vmId: id } })
  const armed = arm('next-exit')
  armed.catch(() => {})
  try {
    // Docker answers with headers once the wait is armed; Podman only at the end, so there the order of sending must do.
    const [hasStarted] = engine.isPodman ? [undefined] : await Promise.all([startOf(engine, id, signal), armed])
    const before = await machines.inspect(id, ctx)
    const known = exitOf(before.State)
    if (known) return known
    const exit = armed.then((answer) => bodyOf<{ StatusCode: number }>(answer))
    exit.catch(() => {})
    if (before.State.Running) return await exitNow(machines, id, (await exit).StatusCode, ctx)
    const first = await exitOrRemoval(exit, arm('removed').then(bodyOf))
    const result = first ?? (hasStarted?.() ? await exit : undefined)
    if (!result || (hasStarted?.() === false && (await isGone(machines, id, ctx)))) throw notFound(id)
    return await exitNow(machines, id, result.StatusCode, ctx)
  } finally {
    controller.abort()
  }
}

/** Tells whether the machine has started since this resolved. */
async function startOf(engine: Engine, id: string, signal: AbortSignal): Promise<() => boolean> {
  const filters = JSON.stringify({ container: [id], event: ['start'] })
  const events = await engine.stream({ method: 'GET', path: '/events', query: { filters }, signal })
  let hasStarted = false
  events.once('data', () => {
    hasStarted = true
  })
  // The end of the engine, or of the wait, is told by the wait itself.
  events.on('error', () => {})
  return () => hasStarted
}

async function isGone(machines: Machines, id: string, ctx: CallContext): Promise<boolean> {
  return machines.inspect(id, ctx).then(
    () => false,
    (error: unknown) => {
      if (hasCode(error, 'NOT_FOUND')) return true
      throw error
    },
  )
}

async function bodyOf<T>(answer: AsyncIterable<Uint8Array>): Promise<T> {
  const chunks: Uint8Array[] = []
  for await (const chunk of answer) chunks.push(chunk)
  return JSON.parse(Buffer.concat(chunks).toString('utf8')) as T
}

/** One that never ran and is removed would keep the wait for its exit open for ever. */
async function exitOrRemoval<T>(exit: Promise<T>, removal: Promise<unknown>): Promise<T | undefined> {
  const removed = removal.then(
    () => undefined,
    (error: unknown) => {
      if (!hasCode(error, 'NOT_FOUND')) throw error
      return undefined
    },
  )
  removed.catch(() => {})
  return Promise.race([exit, removed])
}
