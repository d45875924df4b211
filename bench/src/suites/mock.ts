import { driverCosts } from '../driver-costs.js'
import { loop } from '../loop.js'
import { type Bed, freshContext, makeBed, type Operation } from '../mock/bed.js'
import { contents, snapshots } from '../mock/contents.js'
import { hostOperations } from '../mock/host.js'
import { lifecycle } from '../mock/lifecycle.js'
import type { Comparison, Suite } from '../suite.js'
import { microseconds } from '../units.js'

const MANAGER_ADDS_MOST = microseconds(20)

/** What the manager adds to each operation, on a driver that does next to nothing itself; and what the mock costs to have. */
export const suite: Suite = {
  async *comparisons() {
    yield* driverCosts({ name: 'mock', config: { command: ['true'] } })
    for (const operations of [lifecycle, contents, snapshots, hostOperations]) {
      const bed = await makeBed()
      yield* operations(bed).map((operation) => comparison(operation))
      await tidy(bed)
    }
  },
}

function comparison({ name, ours, theirs, before, after }: Operation): Comparison {
  let ctx = freshContext()
  const hooks = {
    async before() {
      if (before) await before(freshContext())
      ctx = freshContext()
    },
    async after() {
      if (after) await after(freshContext())
    },
  }
  return {
    what: name,
    against: 'bare mock driver',
    kind: 'loop',
    unit: 'ms',
    ours: loop(ours, hooks),
    theirs: loop(() => theirs(ctx), hooks),
    bar: { on: 'difference', most: MANAGER_ADDS_MOST },
  }
}

async function tidy({ manager }: Bed): Promise<void> {
  await manager.close()
}
