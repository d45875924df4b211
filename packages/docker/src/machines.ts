import { VMKitError } from '@vmkit/core'
import type { CallContext } from '@vmkit/core/driver'
import type { Engine, EngineFinder } from './engine.js'
import { hasCode } from './errors.js'
import { isMachine, LABEL } from './labels.js'
import { type ContainerInspect, type ContainerListEntry, timeOf } from './wire.js'

/** What never changes during the life of a container, so that it is asked once. */
export interface Facts {
  tty: boolean
  workdir: string
  stopSignal: string
  stdinOnce: boolean
  /** Id of the image it stands on. */
  image: string
  /** Its key among snapshots, which a restore keeps. */
  uid: string | undefined
  /** It stands on an image that vmkit made. */
  isBased: boolean
}

/** Where a machine is that was checked to be vmkit's. It may be gone by now. */
export interface Place {
  engine: Engine
  id: string
  /** Path of the container in the API. */
  path: string
}

/** The same, with what the engine told of it. */
export interface Found extends Place {
  facts: Facts
}

/** A container whose files can be reached, also while it is being made. */
export type FileHolder = Place & { facts: Pick<Facts, 'workdir'> }

export interface Machines {
  readonly finder: EngineFinder
  engine(ctx: Pick<CallContext, 'signal'>): Promise<Engine>
  /** Asks the engine only for an id that is new here. @throws `NOT_FOUND` for what is not there or not vmkit's */
  at(id: string, ctx: CallContext): Promise<Place>
  /** @throws `NOT_FOUND` as `at` does */
  find(id: string, ctx: CallContext): Promise<Found>
  inspect(id: string, ctx: Pick<CallContext, 'signal'>): Promise<ContainerInspect>
  listed(engine: Engine, ctx: Pick<CallContext, 'signal'>, extraLabels?: readonly string[]): Promise<ContainerListEntry[]>
  /** It was just created here. */
  made(id: string): void
  /** It was just started here. */
  started(id: string): void
  /** Whether it is known to have run: it may have, when this says no. */
  hasRun(id: string): boolean
  forget(id: string): void
}

/** What is remembered of a machine: only what cannot change any more. */
interface Known {
  facts?: Facts
  hasRun: boolean
}

// The API takes names and prefixes of ids too; those would act on a replacement of the same name.
const FULL_ID = /^[0-9a-f]{64}$/
const MOST_KNOWN = 10_000

export function machines(finder: EngineFinder): Machines {
  const known = new Map<string, Known>()

  function remember(id: string, what: Known): void {
    if (known.size >= MOST_KNOWN) known.clear()
    known.set(id, what)
  }

  async function inspect(id: string, { signal }: Pick<CallContext, 'signal'>): Promise<ContainerInspect> {
    const engine = await finder.get(signal)
    if (!FULL_ID.test(id)) throw notFound(id)
    try {
      const container = await engine.json<ContainerInspect>({
        method: 'GET',
        path: `/containers/${id}/json`,
        signal,
        context: { vmId: id },
      })
      if (!isMachine(container.Config.Labels) || container.Id !== id) throw notFound(id)
      // Podman says `false` also for a container that was killed for lack of memory, where it does not know.
      if (engine.isPodman && !container.State.OOMKilled) container.State.OOMKilled = null
      remember(id, { facts: factsOf(container), hasRun: timeOf(container.State.StartedAt) !== null })
      return container
    } catch (error) {
      if (!hasCode(error, 'NOT_FOUND')) throw error
      known.delete(id)
      throw await withSuccessor(engine, id, signal)
    }
  }

  /** A restored machine lives on under another id: say which. */
  async function withSuccessor(engine: Engine, id: string, signal: AbortSignal): Promise<VMKitError> {
    const [successor] = await listed(engine, { signal }, [`${LABEL.previous}${id}`])
    return notFound(id, successor ? `It was restored and lives on as ${successor.Id}` : undefined)
  }

  async function listed(
    engine: Engine,
    { signal }: Pick<CallContext, 'signal'>,
    extraLabels: readonly string[] = [],
  ): Promise<ContainerListEntry[]> {
    const filters = JSON.stringify({ label: [`${LABEL.mark}=docker`, ...extraLabels] })
    const found =
      (await engine.json<ContainerListEntry[] | null>({
        method: 'GET',
        path: '/containers/json',
        query: { all: true, filters },
        signal,
      })) ?? []
    const ids = new Set(found.map(({ Id }) => Id))
    // A container that waits to replace another one is no machine yet.
    return found.filter(({ Labels }) => isMachine(Labels) && !ids.has(Labels?.[LABEL.replaces] || 'none'))
  }

  return {
    finder,
    engine: ({ signal }) => finder.get(signal),
    inspect,
    listed,
    made: (id) => remember(id, { hasRun: false }),
    started: (id) => remember(id, { ...known.get(id), hasRun: true }),
    hasRun: (id) => known.get(id)?.hasRun ?? false,
    forget: (id) => void known.delete(id),
    async at(id, ctx) {
      if (!known.has(id)) await inspect(id, ctx)
      return placeOf(await finder.get(ctx.signal), id)
    },
    async find(id, ctx) {
      const facts = known.get(id)?.facts ?? factsOf(await inspect(id, ctx))
      return { ...placeOf(await finder.get(ctx.signal), id), facts }
    },
  }
}

function placeOf(engine: Engine, id: string): Place {
  return { engine, id, path: `/containers/${id}` }
}

function factsOf({ Config, Image }: ContainerInspect): Facts {
  return {
    tty: Config.Tty,
    workdir: Config.WorkingDir || '/',
    stopSignal: Config.StopSignal ?? 'SIGTERM',
    stdinOnce: Config.StdinOnce ?? false,
    image: Image,
    uid: Config.Labels?.[LABEL.uid],
    isBased: Config.Labels?.[LABEL.snapshotTag] !== undefined,
  }
}

export function notFound(id: string, hint?: string): VMKitError {
  return new VMKitError('NOT_FOUND', `There is no machine ${id}`, { driver: 'docker', vmId: id, ...(hint ? { hint } : {}) })
}

/** For clean-up after an abort: nothing ends it but the engine. */
export function unaborted(): CallContext {
  return { signal: new AbortController().signal, deadline: undefined, report: () => {} }
}
