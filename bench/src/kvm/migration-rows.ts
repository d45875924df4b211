import { join } from 'node:path'
import type { Comparison } from '../suite.js'
import { type Bed, bed, MEMORY, untilLonger, writeBootSector } from './bed.js'

/** There and back again, an idle guest of one sector in 128 MB. */
export async function* migrationRows(place: Bed): AsyncIterable<Comparison> {
  const other = bed()
  const image = join(place.stateDir, 'letter.raw')
  writeBootSector(image)
  const options = { kvm: { accel: 'tcg' as const, network: { kind: 'none' as const } } }
  let places = [place, other] as const
  let vm = await place.create({ name: place.name(), disk: { image }, memory: MEMORY, driverOptions: options })
  await vm.start()
  await untilLonger(join(place.folderOf(vm.id), 'console.log'), 0)
  const move = async (): Promise<{ downtimeMs: number; totalMs: number }> => {
    if (!vm.supports('migrate.live')) throw new Error(`no live migration: ${vm.missing['migrate.live']}`)
    const { vm: moved, downtimeMs, totalMs } = await vm.migrate(places[1].target, { live: true })
    vm = moved as typeof vm
    places = [places[1], places[0]]
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
    await vm.delete({ force: true })
  } finally {
    await other.close()
  }
}
