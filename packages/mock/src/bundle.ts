import { type CallContext, invalidConfig, type MachineConfig, type OptionalDriverMethods } from '@vmkit/core/driver'
import { packEntries, readTar, type TarEntry } from './archive.js'
import type { MockBackend } from './backend.js'
import { enterCall } from './images.js'
import { Machine } from './machine.js'

const FORMAT = 'vmkit-mock-bundle@1'
const MANIFEST = 'vmkit.json'
const ROOTFS = 'rootfs'

/** A tar of the config and the files. Only mocks read it: it has no image that another driver could start. */
export function mockBundles(backend: MockBackend): Required<Pick<OptionalDriverMethods, 'exportBundle' | 'importBundle'>> {
  return {
    async *exportBundle(id, ctx: CallContext) {
      await enterCall(backend, 'exportBundle', ctx)
      const { config, files } = backend.get(id)
      const manifest = Buffer.from(JSON.stringify({ format: FORMAT, config: { ...config, files: [] } }))
      const rootfs = [...files.below('/')].map(([path, node]): TarEntry => ({ name: `${ROOTFS}${path}`, node }))
      yield* packEntries([{ name: MANIFEST, node: { type: 'file', mode: 0o644, modifiedAt: 0, content: manifest } }, ...rootfs])
    },

    async importBundle(stream, { name, labels }, ctx) {
      await enterCall(backend, 'importBundle', ctx)
      const entries = await readTar(stream, 'bundle')
      const stored = readManifest(entries)
      const userLabels = Object.entries(stored.labels).filter(([key]) => !key.startsWith('vmkit.'))
      const config: MachineConfig = { ...stored, name: name ?? stored.name, labels: { ...Object.fromEntries(userLabels), ...labels } }
      const machine = new Machine(config, backend.surroundings)
      for (const { name: path, node } of entries) {
        if (path.startsWith(`${ROOTFS}/`) && node.type !== 'directory') machine.disk.write(path.slice(ROOTFS.length), node)
      }
      backend.add(machine)
      machine.emit({ type: 'created' })
      return { id: machine.id }
    },
  }
}

function readManifest(entries: TarEntry[]): MachineConfig {
  const manifest = entries.find(({ name }) => name === MANIFEST)?.node.content
  const parsed = manifest && (JSON.parse(Buffer.from(manifest).toString('utf8')) as { format: string; config: MachineConfig })
  if (parsed?.format === FORMAT) return parsed.config
  throw invalidConfig('bundle', `a bundle of the format ${FORMAT}`, parsed?.format)
}
