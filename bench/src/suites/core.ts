import { createManager, type DriverModule, findDriver, registeredDrivers } from '@vmkit/core'
import '@vmkit/mock'
import { nodeHeap, nodeTime } from '../child.js'
import { importing, packageFolder } from '../driver-costs.js'
import { loop } from '../loop.js'
import type { Suite } from '../suite.js'
import { microseconds } from '../units.js'

const IMPORT_MOST_MS = 25
const RETRIEVAL_MOST = microseconds(1)

// A call of some nanoseconds is far below what a clock can see.
const CALLS = 2000

/** What it costs to have core, and to ask it for a driver. */
export const suite: Suite = {
  async *comparisons() {
    const cwd = packageFolder('core')
    yield {
      what: 'import @vmkit/core',
      against: 'bare Node',
      kind: 'process',
      unit: 'ms',
      ours: nodeTime(importing('@vmkit/core'), cwd),
      theirs: nodeTime('', cwd),
      bar: { on: 'difference', most: IMPORT_MOST_MS },
    }
    yield {
      what: 'heap of @vmkit/core',
      against: 'bare Node',
      kind: 'memory',
      unit: 'bytes',
      ours: nodeHeap(importing('@vmkit/core'), cwd),
      theirs: nodeHeap('', cwd),
    }
    yield* retrieval()
  },
}

async function* retrieval(): ReturnType<Suite['comparisons']> {
  const manager = createManager()
  const map = new Map<string, DriverModule>(registeredDrivers().map((module) => [module.name, module]))
  manager.driver('mock')
  const shared = {
    against: 'Map.get',
    kind: 'loop',
    unit: 'ms',
    theirs: many(() => map.get('mock')),
    bar: { on: 'value', most: RETRIEVAL_MOST },
  } as const
  yield { what: 'findDriver(name)', ...shared, ours: many(() => findDriver('mock')) }
  yield { what: 'manager.driver(name), cached', ...shared, ours: many(() => manager.driver('mock')) }
  yield { what: 'manager.lookup(name), cached', ...shared, ours: many(() => manager.lookup('mock')) }
  await manager.close()
}

/** Keeps the results, lest the JIT finds that nobody needs them. */
let kept: unknown

function many(call: () => unknown) {
  return loop(
    () => {
      for (let index = 0; index < CALLS; index += 1) kept = call()
      return kept
    },
    { per: CALLS },
  )
}
