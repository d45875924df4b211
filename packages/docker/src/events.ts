import { VMKitError } from '@vmkit/core'
import type { CallContext, VMEvent } from '@vmkit/core/driver'
import { hasCode, transportError } from './errors.js'
import { exitFrom, exitOf, healthOf } from './inspect.js'
import { isMachine, LABEL, nameOf } from './labels.js'
import type { Machines } from './machines.js'
import { jsonLines } from './progress.js'
import type { EventLine } from './wire.js'

const ACTIONS = ['create', 'start', 'pause', 'unpause', 'oom', 'die', 'destroy', 'update', 'rename', 'health_status', 'commit', 'pull']

/** Events of vmkit's machines, and pulls of images, from the moment of the call on. */
export async function* readEvents(machines: Machines, ctx: CallContext): AsyncGenerator<VMEvent> {
  // Rounded up to the next millisecond: what the engine did within this one was asked for before this call.
  const asked = Date.now() + 1
  const engine = await machines.engine(ctx)
  const filters = JSON.stringify({ type: ['container', 'image'], event: ACTIONS })
  // The engine repeats what happened between the call and its arrival there; that needs one clock.
  const since = engine.isLocal ? (asked / 1000).toFixed(3) : undefined
  const answer = await engine.stream({
    method: 'GET',
    path: '/events',
    query: { filters, since },
    signal: ctx.signal,
    context: { operation: 'events' },
  })
  const oomed = new Set<string>()
  try {
    for await (const line of jsonLines<EventLine>(answer)) {
      const event = await toEvent(line, machines, oomed, ctx)
      if (event) yield event
    }
  } catch (error) {
    if (ctx.signal.aborted) return
    throw transportError(error, engine.endpoint.target, ctx.signal)
  } finally {
    answer.destroy()
  }
  if (!ctx.signal.aborted)
    throw new VMKitError('BACKEND_UNAVAILABLE', `The engine at ${engine.endpoint.target} ended the stream of events`, {
      driver: 'docker',
      operation: 'events',
    })
}

async function toEvent(
  { Type, Action, Actor, time, timeNano }: EventLine,
  machines: Machines,
  oomed: Set<string>,
  ctx: CallContext,
): Promise<VMEvent | undefined> {
  const at = timeNano === undefined ? time * 1000 : Math.floor(timeNano / 1e6)
  const attributes = Actor.Attributes ?? {}
  if (Type === 'image') return Action === 'pull' ? { type: 'image-pulled', driver: 'docker', image: Actor.ID, at } : undefined
  // Podman may leave the labels out of events; then the machine itself is asked.
  if (!isMachine(attributes)) return undefined
  const id = Actor.ID
  const base = { driver: 'docker', id, name: nameOf(attributes, attributes.name ?? ''), at }
  const [verb = '', detail = ''] = Action.split(': ')
  switch (verb) {
    case 'create': {
      const tag = attributes[LABEL.restoredFrom]
      return tag ? { ...base, type: 'restored', tag } : { ...base, type: 'created' }
    }
    case 'start':
      return { ...base, type: 'started' }
    case 'pause':
      return { ...base, type: 'paused' }
    case 'unpause':
      return { ...base, type: 'resumed' }
    case 'update':
      return { ...base, type: 'resized' }
    case 'rename': {
      const from = (attributes.oldName ?? '').replace(/^\//, '')
      // A restored machine gets its own name back.
      return from === attributes[LABEL.waitsAs] ? undefined : { ...base, type: 'renamed', from }
    }
    case 'commit': {
      const tag = /vmkit-snapshot\/[^:]+:(.+)$/.exec(attributes.imageRef ?? attributes.comment ?? '')?.[1]
      return tag === undefined ? undefined : { ...base, type: 'snapshotted', tag }
    }
    case 'oom':
      oomed.add(id)
      return undefined
    case 'die':
      return { ...base, type: 'stopped', exit: await exitOfEvent(id, attributes, oomed.delete(id), at, machines, ctx) }
    case 'destroy':
      return { ...base, type: 'deleted' }
    case 'health_status': {
      const health = healthOf(detail)
      return health ? { ...base, type: 'health', health } : undefined
    }
    default:
      return undefined
  }
}

/** The container knows more than the event, unless it is gone, or runs or has ended again. */
async function exitOfEvent(
  id: string,
  attributes: Record<string, string>,
  sawOom: boolean,
  at: number,
  machines: Machines,
  ctx: CallContext,
) {
  const known = await machines.inspect(id, ctx).then(
    ({ State }) => exitOf(State),
    (error: unknown) => {
      if (hasCode(error, 'NOT_FOUND')) return undefined
      throw error
    },
  )
  const isOfThisEnd = known?.code === Number(attributes.exitCode) && known.at !== null && known.at <= at
  return isOfThisEnd ? known : exitFrom(Number(attributes.exitCode), sawOom ? true : null, at)
}
