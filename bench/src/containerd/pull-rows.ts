import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { digestOf, type ImageSource, imageFromFolder, pushImage } from '@vmkit/oci'
import { backendEnv } from '../../../scripts/lib/backends.js'
import { lightEnvironment, nodeNumber } from '../child.js'
import { packageFolder } from '../driver-costs.js'
import { once } from '../loop.js'
import type { Comparison, Omission } from '../suite.js'
import { megabytes } from '../units.js'
import { NAMESPACE } from './engine.js'
import type { Bed } from './rows.js'

const LAYERS = 3
const BYTES = 200e6
const QUICK_BYTES = 6e6
const PULL_MOST = 1.2
const PAIRS = 6
const GROWTH_MOST = megabytes(64)

/** An image of three layers of noise, from the loopback registry into an empty namespace and out again. */
export async function* pullRows({ socketPath, containerd, bare, folder, run }: Bed): AsyncGenerator<Comparison | Omission> {
  const registry = backendEnv('VMKIT_REGISTRY')
  if (registry === undefined) {
    yield { what: 'pull', omitted: 'no registry; scripts/backends up starts one' }
    return
  }
  const bytes = run.quick ? QUICK_BYTES : BYTES
  const reference = `${registry}/vmkit-bench/pulled:${process.pid}`
  await push(reference, bytes)
  const forget = () => bare.images.delete({ name: reference, sync: true })
  const address = ['--address', socketPath, '--namespace', NAMESPACE]
  const env = lightEnvironment()
  yield {
    what: `pull of ${bytes / 1e6} MB in ${LAYERS} layers, and removal`,
    against: 'ctr images pull',
    kind: 'process',
    unit: 'ms',
    rounds: PAIRS,
    ours: once(async () => {
      await containerd.images.pull(reference, { policy: 'always' })
      await forget()
    }),
    theirs: once(async () => {
      await promisify(execFile)('ctr', [...address, 'images', 'pull', '--plain-http', reference], { env, maxBuffer: 2 ** 26 })
      await forget()
    }),
    bar: { on: 'ratio', most: PULL_MOST },
  }
  const small = `${registry}/vmkit-bench/small:${process.pid}`
  await push(small, QUICK_BYTES)
  const options = { socketPath, namespace: NAMESPACE, stateDir: folder }
  const cwd = packageFolder('containerd')
  yield {
    what: `memory that a pull of ${bytes / 1e6} MB adds to a program that has listed images`,
    against: `a pull of ${QUICK_BYTES / 1e6} MB`,
    kind: 'memory',
    unit: 'bytes',
    rounds: PAIRS,
    ours: nodeNumber(growthOf(reference, options), cwd),
    theirs: nodeNumber(growthOf(small, options), cwd),
    bar: { on: 'value', most: GROWTH_MOST },
  }
}

/** A module that writes by how many bytes its resident memory grows at most while it pulls; looked at every few milliseconds. */
function growthOf(reference: string, options: object): string {
  return `import { createManager } from '@vmkit/core'
import '@vmkit/containerd'
const manager = createManager({ drivers: { containerd: ${JSON.stringify(options)} } })
const { images } = manager.driver('containerd')
await images.list()
const before = process.memoryUsage.rss()
let most = before
const look = () => { most = Math.max(most, process.memoryUsage.rss()) }
const timer = setInterval(look, 5)
await images.pull(${JSON.stringify(reference)}, { policy: 'always' })
look()
clearInterval(timer)
await images.remove(${JSON.stringify(reference)})
await manager.close()
process.stdout.write(String(most - before))`
}

async function push(reference: string, bytes: number): Promise<void> {
  const sources: ImageSource[] = []
  const folder = await mkdtemp(join(tmpdir(), 'vmkit-bench-layers-'))
  try {
    for (let layer = 0; layer < LAYERS; layer += 1) {
      const path = join(folder, String(layer))
      await mkdir(path)
      await chmod(path, 0o755)
      await writeFile(join(path, `noise-${layer}`), randomBytes(bytes / LAYERS))
      sources.push(await imageFromFolder(path, { reference, ownership: 'root' }))
    }
    await pushImage(stacked(sources), reference)
  } finally {
    for (const source of sources) await source.close()
    await rm(folder, { recursive: true })
  }
}

/** The layers of several images, one over the other. */
function stacked(sources: readonly ImageSource[]): ImageSource {
  const [first] = sources
  if (!first) throw new Error('no layers')
  const config = { ...first.config, rootfs: { type: 'layers' as const, diff_ids: sources.flatMap((each) => each.config.rootfs.diff_ids) } }
  const configBytes = Buffer.from(JSON.stringify(config))
  const layers = sources.flatMap((each) => each.manifest.layers)
  const manifest = {
    ...first.manifest,
    config: { ...first.manifest.config, digest: digestOf(configBytes), size: configBytes.length },
    layers,
  }
  const bytes = Buffer.from(JSON.stringify(manifest))
  const descriptor = { ...first.descriptor, digest: digestOf(bytes), size: bytes.length }
  const documents = [
    { descriptor, bytes },
    { descriptor: manifest.config, bytes: configBytes },
  ]
  return {
    ...first,
    config,
    manifest,
    descriptor,
    documents,
    async *blob(wanted, options) {
      const document = documents.find((each) => each.descriptor.digest === wanted.digest)
      if (document) yield document.bytes.subarray(options?.offset ?? 0)
      const source = sources.find((each) => each.manifest.layers.some(({ digest }) => digest === wanted.digest))
      if (source) yield* source.blob(wanted, options)
    },
  }
}
