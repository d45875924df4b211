/** What is in the volumes of a machine, as tars that travel with it: whole, but for hard links, FIFOs, devices and sockets. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import type { CallContext, MachineConfig } from '@vmkit/core/driver'
import { type Spooled, spool } from '@vmkit/oci'
import { packIn, unpackIn } from '../files/archive.js'
import type { Host } from '../host.js'
import { dropVolumes, makeFilled, volumeData } from '../volumes.js'

export interface VolumeTar {
  digest: string
  size: number
  read(options?: { offset?: number }): AsyncIterable<Uint8Array>
  remove(): Promise<void>
}

type Volumes = MachineConfig['volumes']

/** In the order of the config. They lie in temporary files until `remove`. */
export async function packVolumes(host: Host, volumes: Volumes, { signal }: Pick<CallContext, 'signal'>): Promise<VolumeTar[]> {
  const tars: VolumeTar[] = []
  try {
    for (const { name } of volumes) tars.push(await packVolume(volumeData(host, name), signal))
    return tars
  } catch (error) {
    for (const tar of tars) await tar.remove()
    throw error
  }
}

async function packVolume(folder: string, signal: AbortSignal): Promise<VolumeTar> {
  const hash = createHash('sha256')
  let size = 0
  async function* counted(): AsyncGenerator<Uint8Array> {
    for await (const chunk of packIn(folder, '/', { self: true })) {
      hash.update(chunk)
      size += chunk.length
      yield chunk
    }
  }
  const { path, remove }: Spooled = await spool(counted(), signal)
  return { digest: `sha256:${hash.digest('hex')}`, size, read: ({ offset = 0 } = {}) => createReadStream(path, { start: offset }), remove }
}

/**
 * New volumes with what `content` gives, all or none. `undo` takes them away again; `incoming` marks them as those of a migration.
 * @throws VMKitError `CONFLICT` for a taken name, `INVALID_CONFIG` for a tar that leaves the volume
 */
export async function fillVolumes(
  host: Host,
  volumes: Volumes,
  content: (index: number) => AsyncIterable<Uint8Array>,
  { signal }: Pick<CallContext, 'signal'>,
  incoming?: string,
): Promise<() => void> {
  const made: string[] = []
  try {
    for (const [index, { name }] of volumes.entries()) {
      const kept = { labels: {}, ...(incoming === undefined ? {} : { incoming }) }
      await makeFilled(host, name, kept, (folder) => unpackIn(folder, '/', content(index), signal))
      made.push(name)
    }
    return () => dropVolumes(host, made)
  } catch (error) {
    dropVolumes(host, made)
    throw error
  }
}
