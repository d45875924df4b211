import { VMKitError } from '@vmkit/core'
import { type CallContext, limitOf, type MachineConfig, type StopOptions, type VMExit } from '@vmkit/core/driver'
import { hasCode } from './errors.js'
import { withField } from './fields.js'
import { exitFrom, exitOf } from './inspect.js'
import { configOf } from './labels.js'
import { type Machines, notFound, type Place } from './machines.js'
import { imagesToClean } from './snapshot-images.js'
import { timeOf } from './wire.js'

const NOT_MODIFIED = 304
const CONFLICT = 409

/** A start that is aborted, or fails, leaves nothing running. */
export async function start(machines: Machines, id: string, ctx: CallContext): Promise<void> {
  const { engine, path } = await machines.at(id, ctx)
  try {
    await engine.json({ method: 'POST', path: `${path}/start`, signal: ctx.signal, accept: [NOT_MODIFIED], context: { vmId: id } })
    machines.started(id)
  } catch (error) {
    if (hasCode(error, 'NOT_FOUND') && !/no such container/i.test((error as VMKitError).message))
      throw VMKitError.from(new VMKitError('INVALID_CONFIG', (error as VMKitError).message, { vmId: id, cause: error }))
    if (!ctx.signal.aborted) throw await withField(error, () => madeWith(machines, id, ctx))
    // The engine goes on with a start whose client has left; a kill waits for it there.
    await engine.json({ method: 'POST', path: `${path}/kill`, accept: [CONFLICT] }).catch(() => {})
    throw error
  }
}

/** `undefined` when it went meanwhile: what is told is why it did not start. */
async function madeWith(machines: Machines, id: string, ctx: CallContext): Promise<MachineConfig | undefined> {
  try {
    const { Config, Name } = await machines.inspect(id, ctx)
    return configOf(Config.Labels, Name)
  } catch {
    return undefined
  }
}

/**
 * The engine's own stop ends a restart policy as well, but counts in seconds: a SIGKILL at the exact time helps it, and a
 * signal of the caller's choice goes ahead of it where the API cannot take one (before 1.42).
 */
export async function stop(machines: Machines, id: string, { graceMs, signal }: StopOptions, ctx: CallContext): Promise<void> {
  const place = await machines.at(id, ctx)
  const { engine, path } = place
  const isOwnSignal = signal === undefined || signal === (await machines.find(id, ctx)).facts.stopSignal
  const seconds = Math.ceil(graceMs / 1000)
  if (!isOwnSignal && !engine.atLeast('1.42')) {
    await engine.json({
      method: 'POST',
      path: `${path}/kill`,
      query: { signal },
      accept: [CONFLICT],
      signal: ctx.signal,
      context: { vmId: id },
    })
    await stopped(place, graceMs, ctx)
    await engine.json({
      method: 'POST',
      path: `${path}/stop`,
      query: { t: 0 },
      accept: [NOT_MODIFIED],
      signal: ctx.signal,
      context: { vmId: id },
    })
    return
  }
  const isExact = graceMs % 1000 === 0
  const timer = isExact
    ? undefined
    : setTimeout(() => void engine.json({ method: 'POST', path: `${path}/kill`, accept: [CONFLICT] }).catch(() => {}), graceMs)
  try {
    await engine.json({
      method: 'POST',
      path: `${path}/stop`,
      query: { t: seconds, ...(isOwnSignal ? {} : { signal }) },
      accept: [NOT_MODIFIED],
      signal: ctx.signal,
      context: { vmId: id },
    })
  } finally {
    clearTimeout(timer)
  }
}

/** Resolves when it no longer runs, at the latest after `graceMs`. */
async function stopped({ engine, path }: Place, graceMs: number, ctx: CallContext): Promise<void> {
  using limit = limitOf(ctx.signal, graceMs)
  try {
    await engine.json({
      method: 'POST',
      path: `${path}/wait`,
      query: { condition: 'not-running' },
      signal: limit.signal,
    })
  } catch (error) {
    if (!limit.isOver()) throw error
  }
}

export async function kill(machines: Machines, id: string, signal: string, ctx: CallContext): Promise<void> {
  const { engine, path } = await machines.at(id, ctx)
  await engine
    .json({ method: 'POST', path: `${path}/kill`, query: { signal }, signal: ctx.signal, context: { vmId: id } })
    .catch((error: unknown) => {
      // "container … is not running" comes as 409, on Podman with other words
      throw hasCode(error, 'CONFLICT') ? new VMKitError('INVALID_STATE', (error as VMKitError).message, { vmId: id, cause: error }) : error
    })
}

export async function remove(machines: Machines, id: string, force: boolean, ctx: CallContext): Promise<void> {
  const { engine, path, facts } = await machines.find(id, ctx)
  const cleanUp = imagesToClean(engine, facts, ctx)
  try {
    // Podman's own force begins with the stop signal, and waits ten seconds for it. What is wrong beside, the removal tells.
    if (engine.isPodman && force) await engine.json({ method: 'POST', path: `${path}/kill`, signal: ctx.signal }).catch(() => {})
    await engine.json({ method: 'DELETE', path, query: { force, v: true }, signal: ctx.signal, context: { vmId: id } })
  } catch (error) {
    if (!/already in progress/i.test((error as Error).message)) throw error
    // Another caller removes it: done when it is gone.
    await engine
      .json({ method: 'POST', path: `${path}/wait`, query: { condition: 'removed' }, signal: ctx.signal })
      .catch((late: unknown) => {
        if (!hasCode(late, 'NOT_FOUND')) throw late
      })
  }
  machines.forget(id)
  await cleanUp()
}

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

/** For one that has not run yet: the engine's wait is armed before the state is read, so that an exit in between is not missed. */
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
    if (!engine.isPodman) await armed
    const before = await machines.inspect(id, ctx)
    const known = exitOf(before.State)
    if (known) return known
    const exit = armed.then((answer) => bodyOf<{ StatusCode: number }>(answer))
    exit.catch(() => {})
    const result = before.State.Running ? await exit : await exitOrRemoval(exit, arm('removed').then(bodyOf))
    if (!result) throw notFound(id)
    return await exitNow(machines, id, result.StatusCode, ctx)
  } finally {
    controller.abort()
  }
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
