import { setTimeout } from 'node:timers/promises'
import { VMKitError } from '@vmkit/core'
import type { CallContext, SnapshotInfo } from '@vmkit/core/driver'
import { abortReason, hasCode } from './errors.js'
import { type Place, unaborted } from './machines.js'

/*
 * A memory snapshot is a checkpoint of the container, which the engine keeps in the container's own folder: it goes with it.
 * The engine keeps no time and no labels of one, so its name is `<tag>.vmkit-<epoch milliseconds>`; others are not vmkit's.
 */
const OURS = /^(.+)\.vmkit-(\d+)$/

export interface Checkpoint {
  tag: string
  /** What the engine calls it. */
  name: string
  createdAt: number
}

/** Oldest first; empty where the engine has no checkpoints. */
export async function checkpoints({ engine, path, id }: Place, { signal }: Pick<CallContext, 'signal'>): Promise<Checkpoint[]> {
  if (engine.isPodman) return []
  const found = await engine
    .json<{ Name: string }[] | null>({ method: 'GET', path: `${path}/checkpoints`, signal, context: { vmId: id } })
    .catch((error: unknown) => {
      // 501 "This experimental feature is disabled by default"
      if (hasCode(error, 'UNSUPPORTED')) return null
      throw error
    })
  return (found ?? [])
    .flatMap(({ Name }) => {
      const [, tag, at] = OURS.exec(Name) ?? []
      return tag === undefined ? [] : [{ tag, name: Name, createdAt: Number(at) }]
    })
    .sort((left, right) => left.createdAt - right.createdAt)
}

/** Saves the memory of a machine that goes on meanwhile. What fails or is aborted leaves nothing. */
export async function createCheckpoint(place: Place, tag: string, ctx: CallContext): Promise<SnapshotInfo> {
  const { engine, path, id } = place
  const createdAt = Date.now()
  const name = `${tag}.vmkit-${createdAt}`
  try {
    // The engine goes on with a checkpoint whose client has left, so an abort takes it away afterwards.
    await whenCollected(ctx.signal, () =>
      engine.json({ method: 'POST', path: `${path}/checkpoints`, body: { CheckpointID: name, Exit: false }, context: { vmId: id } }),
    ).catch((error: unknown) => {
      throw explained(error, 'saved', 'What cannot be saved, such as some sockets, is told in the log that the engine names')
    })
    const isTaken = (await checkpoints(place, unaborted())).some((other) => other.tag === tag && other.name !== name)
    if (ctx.signal.aborted) throw abortReason(ctx.signal)
    if (isTaken) throw new VMKitError('ALREADY_EXISTS', `Another process makes a snapshot ${tag}`, { driver: 'docker', vmId: id })
  } catch (error) {
    await engine.undo(async () => {
      // One that failed may be there all the same, and half.
      if ((await checkpoints(place, unaborted())).some((made) => made.name === name)) await deleteCheckpoint(place, name)
    })
    throw error
  }
  return { tag, createdAt, memory: true, sizeBytes: null }
}

export async function deleteCheckpoint({ engine, path, id }: Place, name: string): Promise<void> {
  await engine.json({ method: 'DELETE', path: `${path}/checkpoints/${name}`, context: { vmId: id } })
}

/** The machine, which is stopped for it, runs on from the checkpoint, over the disk as it is now. */
export async function startFromCheckpoint({ engine, path, id }: Place, name: string): Promise<void> {
  await engine.json({ method: 'POST', path: `${path}/stop`, query: { t: 0 }, accept: [304], context: { vmId: id } })
  await whenCollected(undefined, () =>
    engine.json({ method: 'POST', path: `${path}/start`, query: { checkpoint: name }, context: { vmId: id } }),
  ).catch((error: unknown) => {
    throw explained(error, 'restored', 'The machine is stopped. A file that a process had open must not have changed since')
  })
}

/**
 * Saving and restoring hand content to the engine's containerd, which refuses what it still has from the time before, until
 * its garbage collector took that away (moby issue 42900). The machine went on then, or was not started, so asking again is
 * safe. An abort ends the waiting.
 */
async function whenCollected(signal: AbortSignal | undefined, ask: () => Promise<unknown>): Promise<void> {
  const given = Date.now()
  for (;;) {
    const failure = await ask().then(
      () => undefined,
      (error: unknown) => error as Error,
    )
    if (failure === undefined) return
    const isStillStored = /content sha256:[0-9a-f]+: already exists/.test(failure.message)
    if (!isStillStored || signal?.aborted || Date.now() - given > COLLECTED_MS) throw failure
    await setTimeout(LOOK_AGAIN_MS)
  }
}

const COLLECTED_MS = 20_000
const LOOK_AGAIN_MS = 200

function explained(error: unknown, done: string, hint: string): VMKitError {
  const { code, message, vmId } = error as VMKitError
  const isMissing = /criu.*(not found|no such file)|(not found|no such file).*criu/i.test(message)
  if (isMissing || code === 'UNSUPPORTED')
    return new VMKitError('UNSUPPORTED', message, { driver: 'docker', vmId, capability: 'snapshot.memory', cause: error })
  if (code !== 'BACKEND_ERROR') return error as VMKitError
  return new VMKitError('BACKEND_ERROR', `The memory cannot be ${done}: ${message}`, { driver: 'docker', vmId, hint, cause: error })
}
