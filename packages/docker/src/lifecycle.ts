import { VMKitError } from '@vmkit/core'
import { type CallContext, limitOf, type MachineConfig, type StopOptions } from '@vmkit/core/driver'
import type { Engine } from './engine.js'
import { hasCode } from './errors.js'
import { withField } from './fields.js'
import { configOf } from './labels.js'
import type { Machines, Place } from './machines.js'
import { imagesToClean } from './snapshot-images.js'

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
  // Podman's own force begins with the stop signal, and waits ten seconds for it. What is wrong beside, the removal tells.
  if (engine.isPodman && force) await engine.json({ method: 'POST', path: `${path}/kill`, signal: ctx.signal }).catch(() => {})
  for (let isAnothers = false; ; isAnothers = true) {
    try {
      await engine.json({ method: 'DELETE', path, query: { force, v: true }, signal: ctx.signal, context: { vmId: id } })
      break
    } catch (error) {
      if (isAnothers && hasCode(error, 'NOT_FOUND')) break
      if (!/already in progress/i.test((error as Error).message)) throw error
      await othersRemoval(engine, path, ctx)
    }
  }
  machines.forget(id)
  await cleanUp()
}

// How a removal fails, and one that was over when the wait began, is no event of the engine.
const LOOK_AGAIN_MS = 1000

/** Resolves when another caller's removal is over; it may have failed, and it may go on when this says so. */
async function othersRemoval(engine: Engine, path: string, ctx: CallContext): Promise<void> {
  using limit = limitOf(ctx.signal, LOOK_AGAIN_MS)
  await engine
    .json({ method: 'POST', path: `${path}/wait`, query: { condition: 'removed' }, signal: limit.signal })
    .catch((error: unknown) => {
      if (!limit.isOver() && !hasCode(error, 'NOT_FOUND')) throw error
    })
}
