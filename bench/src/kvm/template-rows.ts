import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Comparison } from '../suite.js'
import { type Bed, COUNTING, MEMORY, sizeOf, untilLonger, writeRoot } from './bed.js'

/** Linux that wakes from memory that it maps, against its boot. */
export async function* templateRows(place: Bed): AsyncIterable<Comparison> {
  const root = writeRoot()
  const vm = await place.create({
    name: place.name(),
    rootfs: root,
    memory: MEMORY,
    command: COUNTING,
    driverOptions: { kvm: { accel: 'tcg', template: true, network: { kind: 'none' } } },
  })
  const output = join(place.folderOf(vm.id), 'stdout.log')
  /** From a machine that is off to its first output. */
  const timed = async (wake: () => Promise<unknown>): Promise<number> => {
    await vm.kill('SIGKILL')
    await vm.wait()
    const size = sizeOf(output)
    const began = performance.now()
    await wake()
    await untilLonger(output, size)
    return performance.now() - began
  }
  try {
    await vm.start()
    await untilLonger(output, 0)
    if (!vm.supports('snapshot.memory')) throw new Error(`no memory snapshots: ${vm.missing['snapshot.memory']}`)
    await vm.snapshot('warm', { memory: true })
    const restored = (): Promise<number> => timed(() => vm.restore('warm'))
    await restored()
    yield {
      what: 'from a template to output',
      against: 'our own cold boot',
      kind: 'process',
      unit: 'ms',
      rounds: 12,
      bar: { on: 'ratio', most: 0.05 },
      ours: restored,
      theirs: () => timed(() => vm.start()),
    }
    await vm.delete({ force: true })
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}
