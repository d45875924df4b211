import { VMKitError } from '@vmkit/core'
import type { CallContext } from '@vmkit/core/driver'
import type { Engine, EngineFinder } from './engine.js'
import { hasCode } from './errors.js'
import { isMachine, LABEL } from './labels.js'
import type { ContainerInspect, ContainerListEntry } from './wire.js'

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

/** A machine that was checked to be vmkit's, on the engine that has it. */
export interface Found {
  engine: Engine
  id: string
  /** Path of the container in the API. */
  path: string
  facts: Facts
}

/** A container whose files can be reached, also while it is being made. */
export type FileHolder = Pick<Found, 'engine' | 'id' | 'path'> & { facts: Pick<Facts, 'workdir'> }

export interface Machines {
  readonly finder: EngineFinder
  engine(ctx: Pick<CallContext, 'signal'>): Promise<Engine>
  /** @throws `NOT_FOUND` for what is not there or not vmkit's */
  find(id: string, ctx: CallContext): Promise<Found>
  inspect(id: string, ctx: Pick<CallContext, 'signal'>): Promise<ContainerInspect>
  listed(engine: Engine, ctx: Pick<CallContext, 'signal'>, extraLabels?: readonly string[]): Promise<ContainerListEntry[]>
  forget(id: string): void
}

// The API takes names and prefixes of ids too; those would act on a replacement of the same name.
const FULL_ID = /^[0-9a-f]{64}$/
const MOST_FACTS = 10_000

export function machines(finder: EngineFinder): Machines {
  const facts = new Map<string, Facts>()

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
      if (facts.size >= MOST_FACTS) facts.clear()
      facts.set(id, factsOf(container))
      return container
    } catch (error) {
      if (!hasCode(error, 'NOT_FOUND')) throw error
      facts.delete(id)
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
    forget: (id) => void facts.delete(id),
    async find(id, ctx) {
      if (!facts.has(id)) await inspect(id, ctx)
      return { engine: await finder.get(ctx.signal), id, path: `/containers/${id}`, facts: facts.get(id) as Facts }
    },
  }
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
