import type { Readable } from 'node:stream'
import { VMKitError } from '@vmkit/core'
import type { MachineConfig } from '@vmkit/core/driver'
import { VOLUME_LABELS } from './container-config.js'
import type { Engine } from './engine.js'

type Volume = MachineConfig['volumes'][number]

/** @throws VMKitError `CONFLICT` when the engine has one of them already, as it would be overwritten */
export async function refuseTakenVolumes(engine: Engine, volumes: readonly Volume[], { signal }: { signal: AbortSignal }): Promise<void> {
  if (volumes.length === 0) return
  const { Volumes } = await engine.json<{ Volumes: { Name: string }[] | null }>({ method: 'GET', path: '/volumes', signal })
  const taken = volumes.find(({ name }) => Volumes?.some(({ Name }) => Name === name))
  if (taken)
    throw new VMKitError('CONFLICT', `The target has a volume ${taken.name} already, which would be overwritten`, {
      driver: 'docker',
      field: 'config.volumes',
    })
}

export interface Filling {
  volumes: readonly Volume[]
  /** Any image that the engine has: nothing of it is run. */
  image: string
  /** On the volumes, and on the container that they are filled through. */
  labels: Readonly<Record<string, string>>
  /** Name of that container. */
  helper: string
  /** A tar of what is in the volume. */
  content(volume: Volume): Promise<Readable>
}

/** New volumes with contents, through a container that never runs: the archive calls reach into the volumes of a stopped one. */
export async function fillVolumes(
  engine: Engine,
  { volumes, image, labels, helper, content }: Filling,
  { signal }: { signal: AbortSignal },
): Promise<void> {
  for (const { name } of volumes)
    await engine.json({ method: 'POST', path: '/volumes/create', body: { Name: name, Labels: { ...labels, ...VOLUME_LABELS } }, signal })
  const mounts = volumes.map(({ name, target }) => ({ Type: 'volume', Source: name, Target: target, VolumeOptions: { NoCopy: true } }))
  const { Id } = await engine.json<{ Id: string }>({
    method: 'POST',
    path: '/containers/create',
    query: { name: helper },
    body: { Image: image, Cmd: ['true'], Labels: labels, HostConfig: { Mounts: mounts } },
    signal,
  })
  for (const volume of volumes) {
    const file = await content(volume)
    await engine.json({ method: 'PUT', path: `/containers/${Id}/archive`, query: { path: volume.target }, file, signal })
  }
  await engine.json({ method: 'DELETE', path: `/containers/${Id}`, query: { force: true }, signal })
}

/** What is in a volume of a container, as a tar. */
export function volumeContent(engine: Engine, id: string, { target }: Volume, { signal }: { signal: AbortSignal }) {
  return engine.stream({ method: 'GET', path: `/containers/${id}/archive`, query: { path: `${target}/.` }, signal, context: { vmId: id } })
}
