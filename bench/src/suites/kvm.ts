import { rmSync } from 'node:fs'
import { createManager } from '@vmkit/core'
import { kvm } from '@vmkit/kvm/driver'
import { bed, missing, temporary } from '../kvm/bed.js'
import { bootRows } from '../kvm/boot-rows.js'
import { diskRows } from '../kvm/disk-rows.js'
import { memoryRows } from '../kvm/memory-rows.js'
import { migrationRows } from '../kvm/migration-rows.js'
import { templateRows } from '../kvm/template-rows.js'
import type { Suite } from '../suite.js'

/** What the kvm driver adds to QEMU. All under TCG, so that hosts compare. */
export const suite: Suite = {
  async unavailable() {
    const stateDir = temporary()
    const manager = createManager({ drivers: { kvm: kvm({ stateDir }) } })
    try {
      const { available, reason = 'the probe gives no reason' } = await manager.driver('kvm').probe()
      return available ? missing() : reason
    } finally {
      await manager.close()
      rmSync(stateDir, { recursive: true, force: true })
    }
  },
  async *comparisons(run) {
    const place = bed()
    try {
      yield* bootRows(place)
      yield* diskRows(place, run)
      yield* migrationRows(place)
      yield* memoryRows(place)
      yield* templateRows(place)
    } finally {
      await place.close()
    }
  },
}
