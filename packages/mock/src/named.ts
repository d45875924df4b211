import { type DriverNetworks, type DriverVolumes, VMKitError } from '@vmkit/core/driver'
import type { MockBackend } from './backend.js'
import { enterCall } from './images.js'

export function mockVolumes(backend: MockBackend): DriverVolumes {
  return group(
    backend,
    'volumes',
    backend.volumes,
    (name, labels) => ({ name, labels, createdAt: backend.clock.now() }),
    (config) => config.volumes,
    (name) => backend.dropVolume(name),
  )
}

export function mockNetworks(backend: MockBackend): DriverNetworks {
  return group(
    backend,
    'networks',
    backend.networks,
    (name, labels) => ({ name, id: crypto.randomUUID(), labels }),
    (config) => config.networks,
    (name) => backend.networks.delete(name),
  )
}

type Config = Parameters<MockBackend['incoming']['set']>[1]['config']

function group<T>(
  backend: MockBackend,
  kind: string,
  kept: Map<string, T>,
  make: (name: string, labels: Record<string, string>) => T,
  usedBy: (config: Config) => { name: string }[],
  drop: (name: string) => void,
) {
  return {
    async create(name: string, labels: Record<string, string>, ctx: Parameters<typeof enterCall>[2]): Promise<T> {
      await enterCall(backend, `${kind}.create`, ctx)
      if (kept.has(name)) throw new VMKitError('ALREADY_EXISTS', `There is one named ${name} among the ${kind} already`)
      const made = make(name, labels)
      kept.set(name, made)
      return made
    },
    async list(ctx: Parameters<typeof enterCall>[2]): Promise<T[]> {
      await enterCall(backend, `${kind}.list`, ctx)
      return [...kept.values()]
    },
    async remove(name: string, ctx: Parameters<typeof enterCall>[2]): Promise<void> {
      await enterCall(backend, `${kind}.remove`, ctx)
      if (!kept.has(name)) throw new VMKitError('NOT_FOUND', `There is none named ${name} among the ${kind}`)
      const user = [...backend.machines.values()].find((machine) => usedBy(machine.config).some((used) => used.name === name))
      if (user) throw new VMKitError('CONFLICT', `The machine ${user.config.name} uses ${name}`)
      drop(name)
    },
  }
}
