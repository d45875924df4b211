import { nodeHeap, nodeTime } from '../child.js'
import { importing, packageFolder } from '../driver-costs.js'
import type { Suite } from '../suite.js'
import { megabytes } from '../units.js'

const IMPORT_MOST_MS = 15
const HEAP_MOST = megabytes(0.3)

/** Those of the mock, process and docker are in their suites, with what a job costs. `oci` is a library, and has no bar. */
const PACKAGES = ['containerd', 'kata', 'kvm', 'oci']

/** What a package costs an app that has imported core, before it is used. No engine is asked. */
export const suite: Suite = {
  async *comparisons() {
    for (const name of PACKAGES) {
      const cwd = packageFolder(name)
      const core = importing('@vmkit/core')
      const both = importing('@vmkit/core', `@vmkit/${name}`)
      const isDriver = name !== 'oci'
      yield {
        what: `import @vmkit/${name}`,
        against: 'import core',
        kind: 'process',
        unit: 'ms',
        ours: nodeTime(both, cwd),
        theirs: nodeTime(core, cwd),
        ...(isDriver ? { bar: { on: 'difference', most: IMPORT_MOST_MS } } : {}),
      }
      yield {
        what: `heap of @vmkit/${name}`,
        against: 'core',
        kind: 'memory',
        unit: 'bytes',
        ours: nodeHeap(both, cwd),
        theirs: nodeHeap(core, cwd),
        ...(isDriver ? { bar: { on: 'difference', most: HEAP_MOST } } : {}),
      }
    }
  },
}
