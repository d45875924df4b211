import { existsSync } from 'node:fs'
import { VMKitError } from '@vmkit/core'
import { type CallContext, invalidConfig, type MachineConfig } from '@vmkit/core/driver'
import { containerSpec, VOLUME_LABELS } from './container-config.js'
import type { Engine } from './engine.js'
import { hasCode } from './errors.js'
import { withField } from './fields.js'
import type { RegistryAccess } from './images.js'
import { LABEL, machineLabels } from './labels.js'
import { machineOptions } from './machine-options.js'
import type { ContainerInspect, ContainerListEntry } from './wire.js'

/** A new container's name, image and labels where they differ from what the config says. */
export interface CreateVariant {
  containerName?: string
  image?: string
  uid?: string
  extraLabels?: Record<string, string>
  /** The files are in the image already. */
  skipFiles?: boolean
}

/** Makes the container, all or nothing, and returns its id. */
export async function createContainer(
  engine: Engine,
  registries: RegistryAccess,
  config: MachineConfig,
  ctx: CallContext,
  variant: CreateVariant = {},
): Promise<string> {
  const image = variant.image ?? (await sourceImage(engine, config, ctx))
  const uid = variant.uid ?? crypto.randomUUID()
  const { body, laterNetworks } = containerSpec(config, image, machineLabels(config, uid, variant.extraLabels), engine)
  const { platform } = machineOptions(config)
  const name = variant.containerName ?? config.name
  const mayPull = variant.image === undefined && config.pull !== 'never' && image === config.image
  const pull = async (): Promise<void> => {
    const { pullImage } = await import('./images.js')
    await pullImage(engine, registries, { reference: image, platform }, ctx).catch((error: unknown) => {
      throw hasCode(error, 'IMAGE_NOT_FOUND', 'PERMISSION_DENIED') ? (error as VMKitError).with({ field: 'config.image' }) : error
    })
  }
  if (mayPull && config.pull === 'always') await pull()
  await requireNetworks(engine, config, ctx)
  if (engine.isPodman && engine.isLocal) requireSources(config)
  const newVolumes = await missingVolumes(engine, config, ctx)
  let id: string | undefined
  let isAway = false
  const undo = async (): Promise<void> => {
    // An engine that goes away in the middle of the call may have made it, and nobody heard its id.
    id ??= isAway ? await containerNamed(engine, name, uid) : undefined
    if (id !== undefined) await drop(engine, `/containers/${id}`)
    for (const volume of newVolumes) await drop(engine, `/volumes/${volume}`)
  }
  try {
    // The engine goes on with a request whose client has left, so it is not aborted: what it makes is removed instead.
    if (engine.isPodman) for (const volume of newVolumes) await createVolume(engine, volume)
    const post = () => createCall(engine, { name, body, platform })
    try {
      id = await post()
    } catch (error) {
      if (!hasCode(error, 'IMAGE_NOT_FOUND')) throw error
      if (!mayPull || config.pull === 'always') throw imageGone(config.image ?? image, error)
      await pull()
      id = await post()
    }
    ctx.signal.throwIfAborted()
    for (const { name: network, settings } of laterNetworks) {
      await engine.json({
        method: 'POST',
        path: `/networks/${encodeURIComponent(network)}/connect`,
        body: { Container: id, EndpointConfig: settings },
        signal: ctx.signal,
      })
    }
    if (!variant.skipFiles && config.files.length > 0) {
      const { writeFile } = await import('./files.js')
      const found = { engine, id, path: `/containers/${id}`, facts: { workdir: await workdirOf(engine, id, config, ctx) } }
      for (const file of config.files) await writeFile(found, file.path, Buffer.from(file.content), file.mode, ctx)
    }
    return id
  } catch (error) {
    isAway = hasCode(error, 'BACKEND_UNAVAILABLE')
    await engine.undo(undo)
    throw await withField(error, () => config)
  }
}

async function containerNamed(engine: Engine, name: string, uid: string): Promise<string | undefined> {
  const filters = JSON.stringify({ label: [`${LABEL.uid}=${uid}`] })
  const found = await engine.json<ContainerListEntry[]>({ method: 'GET', path: '/containers/json', query: { all: true, filters } })
  return found.find(({ Names }) => Names.includes(`/${name}`))?.Id
}

async function drop(engine: Engine, path: string): Promise<void> {
  await engine.json({ method: 'DELETE', path, query: { force: true, v: true } }).catch((error: unknown) => {
    if (!hasCode(error, 'NOT_FOUND')) throw error
  })
}

async function createCall(
  engine: Engine,
  { name, body, platform }: { name: string; body: unknown; platform: string | undefined },
): Promise<string> {
  const answer = await engine.json<{ Id: string }>({
    method: 'POST',
    path: '/containers/create',
    query: { name, platform },
    body,
    context: { operation: 'create' },
  })
  return answer.Id
}

/** The engine does not always say which one it is, nor can it know what the app may do about it. */
function imageGone(image: string, cause: unknown): VMKitError {
  return new VMKitError('IMAGE_NOT_FOUND', `The engine has no image ${image}`, {
    driver: 'docker',
    operation: 'create',
    field: 'config.image',
    hint: "Pull, build or import it first, or let create pull it with `pull: 'missing'`",
    cause,
  })
}

/** Podman makes volumes for mounts without the labels that the request has for them. */
async function createVolume(engine: Engine, name: string): Promise<void> {
  await engine.json({ method: 'POST', path: '/volumes/create', body: { Name: name, Labels: VOLUME_LABELS } })
}

/** Podman looks for the source of a mount only when the machine starts. */
function requireSources({ mounts }: MachineConfig): void {
  for (const [index, { source }] of mounts.entries()) {
    if (!existsSync(source))
      throw invalidConfig(`config.mounts.${index}.source`, 'a path of this host', source, { driver: 'docker', operation: 'create' })
  }
}

/** The engine looks for a network only when the machine starts. */
async function requireNetworks(engine: Engine, { networks }: MachineConfig, { signal }: CallContext): Promise<void> {
  for (const [index, { name }] of networks.entries()) {
    await engine.json({ method: 'GET', path: `/networks/${encodeURIComponent(name)}`, signal }).catch((error: unknown) => {
      if (!hasCode(error, 'NOT_FOUND')) throw error
      throw new VMKitError('NOT_FOUND', (error as VMKitError).message, {
        driver: 'docker',
        operation: 'create',
        field: `config.networks.${index}`,
        cause: error,
      })
    })
  }
}

/** What relative paths of `files` start from: the image says it where the config does not. */
async function workdirOf(engine: Engine, id: string, { files, workdir }: MachineConfig, { signal }: CallContext): Promise<string> {
  if (workdir !== undefined || files.every(({ path }) => path.startsWith('/'))) return workdir ?? '/'
  const { Config } = await engine.json<ContainerInspect>({ method: 'GET', path: `/containers/${id}/json`, signal })
  return Config.WorkingDir || '/'
}

async function sourceImage(engine: Engine, config: MachineConfig, ctx: CallContext): Promise<string> {
  if (config.image === undefined)
    throw invalidConfig('config.image', 'an image reference, which every Docker container needs', undefined, {
      driver: 'docker',
      operation: 'create',
    })
  if (!/^\.{0,2}\//.test(config.image)) return config.image
  const { loadImagePath } = await import('./images.js')
  return loadImagePath(engine, config.image, machineOptions(config).platform, ctx)
}

/** The engine makes missing volumes by itself and keeps them when the create then fails. */
async function missingVolumes(engine: Engine, { volumes }: MachineConfig, { signal }: CallContext): Promise<string[]> {
  if (volumes.length === 0) return []
  const { Volumes } = await engine.json<{ Volumes: { Name: string }[] | null }>({ method: 'GET', path: '/volumes', signal })
  const present = new Set(Volumes?.map(({ Name }) => Name))
  return [...new Set(volumes.map(({ name }) => name))].filter((name) => !present.has(name))
}
