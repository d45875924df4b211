import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connection } from '../../../packages/containerd/src/grpc/connection.js'
import { nodeTime } from '../child.js'
import { containerdOf, findEngine, IMAGE, importImage, managerAt, NAMESPACE } from '../containerd/engine.js'
import { pullRows } from '../containerd/pull-rows.js'
import { engineRows } from '../containerd/rows.js'
import { importing, packageFolder } from '../driver-costs.js'
import type { Suite } from '../suite.js'

const FIRST_USE_MOST_MS = 90

/** What the containerd driver adds to its daemon. */
export const suite: Suite = {
  async *comparisons(run) {
    const cwd = packageFolder('containerd')
    const both = importing('@vmkit/core', '@vmkit/containerd')
    const found = await findEngine()
    if ('reason' in found) {
      yield { what: 'real daemon', omitted: found.reason }
      return
    }
    const { socketPath } = found
    const folder = await mkdtemp(join(tmpdir(), 'vmkit-bench-'))
    const options = { socketPath, namespace: NAMESPACE, stateDir: folder }
    const manager = managerAt(options)
    const containerd = containerdOf(manager)
    const link = connection({ socketPath, namespace: NAMESPACE, driver: 'bench' })
    const bare = await link.get()
    try {
      await importImage(containerd)
      const list = `const manager = kept0.createManager({ drivers: { containerd: ${JSON.stringify(options)} } })
await manager.driver('containerd').list(); await manager.close()`
      yield {
        what: 'first use: list, in a new program',
        against: 'import of the same',
        kind: 'process',
        unit: 'ms',
        ours: nodeTime(`${both}\n${list}`, cwd),
        theirs: nodeTime(both, cwd),
        bar: { on: 'difference', most: FIRST_USE_MOST_MS },
      }
      yield* engineRows({ socketPath, containerd, bare, folder, run })
      yield* pullRows({ socketPath, containerd, bare, folder, run })
    } finally {
      await containerd.images.remove(IMAGE).catch(() => undefined)
      await bare.namespaces.delete({ name: NAMESPACE })
      await manager.close()
      link.close()
      await rm(folder, { recursive: true, force: true })
    }
  },
}
