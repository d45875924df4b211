import { VMKitError } from '@vmkit/core'
import type { CallContext, DriverNetworks, DriverVolumes, NetworkInfo, VolumeInfo } from '@vmkit/core/driver'
import { NETWORK_LABELS, VOLUME_LABELS } from './container-config.js'
import { hasCode } from './errors.js'
import type { Machines } from './machines.js'
import { type NetworkEntry, timeOf, type VolumeEntry } from './wire.js'

const OWN_VOLUME = 'vmkit.volume'
const OWN_NETWORK = 'vmkit.network'

/** Named volumes that vmkit made; others are neither listed nor removed. */
export function dockerVolumes(machines: Machines): DriverVolumes {
  const find = async (name: string, ctx: CallContext): Promise<VolumeEntry | undefined> => {
    const engine = await machines.engine(ctx)
    return engine
      .json<VolumeEntry>({ method: 'GET', path: `/volumes/${encodeURIComponent(name)}`, signal: ctx.signal })
      .catch((error: unknown) => {
        if (hasCode(error, 'NOT_FOUND')) return undefined
        throw error
      })
  }
  return {
    async create(name, labels, ctx) {
      const engine = await machines.engine(ctx)
      // The engine's create succeeds for a volume that is there.
      if (await find(name, ctx)) throw new VMKitError('ALREADY_EXISTS', `There is a volume ${name} already`, { driver: 'docker' })
      return volumeInfo(
        await engine.json<VolumeEntry>({
          method: 'POST',
          path: '/volumes/create',
          body: { Name: name, Labels: { ...labels, ...VOLUME_LABELS } },
          signal: ctx.signal,
        }),
      )
    },
    async list(ctx) {
      const engine = await machines.engine(ctx)
      const filters = JSON.stringify({ label: [OWN_VOLUME] })
      const { Volumes } = await engine.json<{ Volumes: VolumeEntry[] | null }>({
        method: 'GET',
        path: '/volumes',
        query: { filters },
        signal: ctx.signal,
      })
      return (Volumes ?? []).map(volumeInfo)
    },
    async remove(name, ctx) {
      const engine = await machines.engine(ctx)
      const found = await find(name, ctx)
      if (found?.Labels?.[OWN_VOLUME] === undefined) throw new VMKitError('NOT_FOUND', `vmkit made no volume ${name}`, { driver: 'docker' })
      await engine.json({ method: 'DELETE', path: `/volumes/${encodeURIComponent(name)}`, signal: ctx.signal })
    },
  }
}

/** Named networks that vmkit made, on the engine's bridge driver. */
export function dockerNetworks(machines: Machines): DriverNetworks {
  const named = async (name: string, ctx: CallContext): Promise<NetworkEntry[]> => {
    const engine = await machines.engine(ctx)
    const filters = JSON.stringify({ name: [name] })
    const found = await engine.json<NetworkEntry[]>({ method: 'GET', path: '/networks', query: { filters }, signal: ctx.signal })
    // The filter matches parts of names.
    return found.filter(({ Name }) => Name === name)
  }
  return {
    async create(name, labels, ctx) {
      const engine = await machines.engine(ctx)
      if ((await named(name, ctx)).length > 0)
        throw new VMKitError('ALREADY_EXISTS', `There is a network ${name} already`, { driver: 'docker' })
      const all = { ...labels, ...NETWORK_LABELS }
      const { Id } = await engine.json<{ Id: string }>({
        method: 'POST',
        path: '/networks/create',
        body: { Name: name, CheckDuplicate: true, Labels: all },
        signal: ctx.signal,
      })
      return networkInfo({ Name: name, Id, Labels: all })
    },
    async list(ctx) {
      const engine = await machines.engine(ctx)
      const filters = JSON.stringify({ label: [OWN_NETWORK] })
      return (await engine.json<NetworkEntry[]>({ method: 'GET', path: '/networks', query: { filters }, signal: ctx.signal })).map(
        networkInfo,
      )
    },
    async remove(name, ctx) {
      const engine = await machines.engine(ctx)
      const own = (await named(name, ctx)).find(({ Labels }) => Labels?.[OWN_NETWORK] !== undefined)
      if (!own) throw new VMKitError('NOT_FOUND', `vmkit made no network ${name}`, { driver: 'docker' })
      await engine.json({ method: 'DELETE', path: `/networks/${own.Id}`, signal: ctx.signal }).catch((error: unknown) => {
        // 403 "has active endpoints"
        throw hasCode(error, 'PERMISSION_DENIED')
          ? new VMKitError('CONFLICT', (error as VMKitError).message, { driver: 'docker', cause: error })
          : error
      })
    },
  }
}

function volumeInfo({ Name, Labels, CreatedAt }: VolumeEntry): VolumeInfo {
  return { name: Name, labels: without(Labels, OWN_VOLUME), createdAt: timeOf(CreatedAt) }
}

function networkInfo({ Name, Id, Labels }: NetworkEntry): NetworkInfo {
  return { name: Name, id: Id, labels: without(Labels, OWN_NETWORK) }
}

function without(labels: Record<string, string> | null | undefined, own: string): Record<string, string> {
  return Object.fromEntries(Object.entries(labels ?? {}).filter(([key]) => key !== own))
}
