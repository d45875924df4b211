import type { IncomingMessage } from 'node:http'
import { PassThrough, type Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { VMKitError } from '@vmkit/core'
import type { CallContext, MachineConfig, MachineRef, MigrationOffer, MigrationStats, MigrationTicket } from '@vmkit/core/driver'
import { commit } from './commit.js'
import { containerSpec } from './container-config.js'
import { createContainer } from './create.js'
import type { Endpoint } from './endpoints.js'
import { connect, type Engine } from './engine.js'
import { hasCode } from './errors.js'
import { loadImage } from './images.js'
import { type Machines, notFound, unaborted } from './machines.js'
import { refOf } from './missing.js'
import { BASE_TAG, baseRepo } from './snapshot-images.js'
import { fillVolumes, refuseTakenVolumes, volumeContent } from './volume-contents.js'

/** On everything that a migration makes on its target, with the ticket's id. */
const INCOMING = 'vmkit.incoming'
const CONNECT_TIMEOUT_MS = 10_000

interface Ticket extends MigrationTicket {
  /** As the target's driver reaches it. TLS comes as paths, not as keys: the files must be where `migrateOut` runs, too. */
  endpoint: Omit<Endpoint, 'source'>
  config: MachineConfig
}

export async function prepareIncoming(machines: Machines, { config, live }: MigrationOffer, ctx: CallContext): Promise<MigrationTicket> {
  const engine = await machines.engine(ctx)
  if (live)
    throw new VMKitError('UNSUPPORTED', 'The engine cannot restore a checkpoint that was made elsewhere', {
      driver: 'docker',
      capability: 'migrate.live',
    })
  const taken = await engine.json({ method: 'GET', path: `/containers/${encodeURIComponent(config.name)}/json`, signal: ctx.signal }).then(
    () => true,
    (error: unknown) => {
      if (hasCode(error, 'NOT_FOUND')) return false
      throw error
    },
  )
  if (taken)
    throw new VMKitError('ALREADY_EXISTS', `The target has a container ${config.name} already`, { driver: 'docker', field: 'config.name' })
  await refuseTakenVolumes(engine, config.volumes, ctx)
  // What this engine cannot honour is said before anything is sent.
  containerSpec(config, 'image', {}, engine)
  const { source: _, ...endpoint } = engine.endpoint
  return { driver: 'docker', id: crypto.randomUUID(), endpoint, config }
}

export async function migrateOut(
  machines: Machines,
  id: string,
  ticket: MigrationTicket,
  options: { live: boolean },
  ctx: CallContext,
): Promise<MigrationStats> {
  if (options.live)
    throw new VMKitError('UNSUPPORTED', 'The engine cannot migrate a container that runs', {
      driver: 'docker',
      capability: 'migrate.live',
      vmId: id,
    })
  const { endpoint, config } = ticket as Ticket
  const source = await machines.engine(ctx)
  const agents = new Set<{ destroy(): void }>()
  const target = await connect({ ...endpoint, source: 'migration ticket' }, agents as Parameters<typeof connect>[1], CONNECT_TIMEOUT_MS)
  const image = { repo: baseRepo(ticket.id), tag: BASE_TAG, label: 'migration' }
  try {
    await commit(machines, id, image, ctx)
    let bytes = 0
    const count = (chunk: Uint8Array) => {
      bytes += chunk.length
      ctx.report({ phase: 'transfer', current: bytes, total: null, unit: 'bytes' })
    }
    const saved = await source.stream({
      method: 'GET',
      path: `/images/${image.repo}:${image.tag}/get`,
      signal: ctx.signal,
      context: { vmId: id },
    })
    await loadImage(target, counted(saved, count), ctx)
    if (config.volumes.length > 0) {
      const filling = {
        volumes: config.volumes,
        image: `${image.repo}:${image.tag}`,
        labels: { [INCOMING]: ticket.id },
        helper: `vmkit-incoming-${ticket.id}`,
        content: async (volume: MachineConfig['volumes'][number]) => counted(await volumeContent(source, id, volume, ctx), count),
      }
      await fillVolumes(target, filling, ctx)
    }
    return { downtimeMs: 0, bytes }
  } finally {
    await source.undo(() => gone(source.json({ method: 'DELETE', path: `/images/${image.repo}:${image.tag}` })))
    for (const agent of agents) agent.destroy()
  }
}

function counted(source: IncomingMessage, count: (chunk: Uint8Array) => void): Readable {
  const through = new PassThrough()
  through.on('data', count)
  through.pause()
  // An error on either side ends both; whoever reads `through` sees it.
  pipeline(source, through).catch(() => {})
  return through
}

export async function finishIncoming(machines: Machines, ticket: MigrationTicket, ctx: CallContext): Promise<MachineRef> {
  const engine = await machines.engine(ctx)
  const { config } = ticket as Ticket
  try {
    const image = `${baseRepo(ticket.id)}:${BASE_TAG}`
    const id = await createContainer(engine, undefined, config, ctx, { image, extraLabels: { [INCOMING]: ticket.id }, skipFiles: true })
    return refOf(id, config)
  } catch (error) {
    throw hasCode(error, 'IMAGE_NOT_FOUND') ? notFound(ticket.id, 'The machine never arrived: run migrateOut on the source first') : error
  }
}

export async function cancelIncoming(machines: Machines, ticket: MigrationTicket, ctx: CallContext): Promise<void> {
  const engine = await machines.engine(ctx)
  await forget(engine, ticket, ctx).catch((error: unknown) => {
    if (hasCode(error, 'BACKEND_UNAVAILABLE')) engine.owe(() => forget(engine, ticket, unaborted()))
    throw error
  })
}

async function forget(engine: Engine, ticket: MigrationTicket, { signal }: Pick<CallContext, 'signal'>): Promise<void> {
  const filters = JSON.stringify({ label: [`${INCOMING}=${ticket.id}`] })
  const containers = await engine.json<{ Id: string }[]>({ method: 'GET', path: '/containers/json', query: { all: true, filters }, signal })
  for (const { Id } of containers)
    await gone(engine.json({ method: 'DELETE', path: `/containers/${Id}`, query: { force: true, v: true }, signal }))
  const { Volumes } = await engine.json<{ Volumes: { Name: string }[] | null }>({
    method: 'GET',
    path: '/volumes',
    query: { filters },
    signal,
  })
  for (const { Name } of Volumes ?? []) await gone(engine.json({ method: 'DELETE', path: `/volumes/${encodeURIComponent(Name)}`, signal }))
  await gone(engine.json({ method: 'DELETE', path: `/images/${baseRepo(ticket.id)}:${BASE_TAG}`, signal }))
}

async function gone(removal: Promise<unknown>): Promise<void> {
  await removal.catch((error: unknown) => {
    if (!hasCode(error, 'NOT_FOUND', 'IMAGE_NOT_FOUND')) throw error
  })
}
