import { join } from 'node:path'
import type { Comparison } from '../suite.js'
import { type Bed, bed, MEMORY, untilLonger, writeBootSector } from './bed.js'

/**
 * An idle guest of one sector in 128 MB. Each time a machine that did not move before: on shared storage each move puts a layer over its
 * disk, and QEMU hands over all of them.
 */
export async function* migrationRows(place: Bed): AsyncIterable<Comparison> {
  const other = bed()
  const image = join(place.stateDir, 'letter.raw')
  writeBootSector(image)
  const options = { kvm: { accel: 'tcg' as const, network: { kind: 'none' as const } } }
  const move = async (): Promise<{ downtimeMs: number; totalMs: number }> => {
    const vm = await place.create({ name: place.name(), disk: { image }, memory: MEMORY, driverOptions: options })
    await vm.start()
    await untilLonger(join(place.folderOf(vm.id), 'console.log'), 0)
    if (!vm.supports('migrate.live')) throw new Error(`no live migration: ${vm.missing['migrate.live']}`)
    const { vm: moved, downtimeMs, totalMs } = await vm.migrate(other.target, { live: true })
    await moved.delete({ force: true })
    return { downtimeMs, totalMs }
  }
  try {
    yield {
      what: 'live migration: downtime',
      against: 'the whole migration',
      kind: 'process',
      unit: 'ms',
      rounds: 30,
      bar: { on: 'value', most: 20 },
      ours: async () => (await move()).downtimeMs,
      theirs: async () => (await move()).totalMs,
    }
  } finally {
    await other.close()
  }
}
