import { closeSync, openSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Comparison } from '../suite.js'
import { argumentsOf, type Bed, bareFolder, COUNTING, MEMORY, sizeOf, startBare, untilLonger, writeRoot } from './bed.js'
import { bareQmp } from './qmp.js'

/** Linux, for what depends on how much memory a guest has touched. */
export async function* memoryRows(place: Bed): AsyncIterable<Comparison> {
  const root = writeRoot()
  const vm = await place.create({
    name: place.name(),
    rootfs: root,
    memory: MEMORY,
    command: COUNTING,
    driverOptions: { kvm: { accel: 'tcg', network: { kind: 'none' } } },
  })
  const output = join(place.folderOf(vm.id), 'stdout.log')
  await vm.start()
  await untilLonger(output, 0)
  if (!vm.supports('snapshot.memory')) throw new Error(`no memory snapshots: ${vm.missing['snapshot.memory']}`)
  await vm.snapshot('warm', { memory: true })
  const restored = async (): Promise<number> => {
    await vm.kill('SIGKILL')
    await vm.wait()
    const size = sizeOf(output)
    const began = performance.now()
    await vm.restore('warm')
    await untilLonger(output, size)
    return performance.now() - began
  }
  await restored()
  const { pid } = await vm.info()
  const bare = argumentsOf(pid as number)
  const incoming = bare.args.indexOf('-incoming')
  bare.args[incoming + 1] = 'fd:4'
  const folder = bareFolder(place.folderOf(vm.id))
  const snapshots = join(folder, 'snapshots')
  const memory = join(snapshots, readdirSync(snapshots).find((name) => name.endsWith('.memory')) as string)
  try {
    yield {
      what: 'from saved memory to output',
      against: 'bare QEMU, -incoming fd:',
      kind: 'process',
      unit: 'ms',
      rounds: 60,
      bar: { on: 'ratio', most: 1.15 },
      ours: restored,
      async theirs() {
        const file = openSync(memory, 'r')
        try {
          const began = performance.now()
          const qemu = startBare(bare, folder, [file])
          const qmp = await bareQmp(join(folder, 'qmp.sock'))
          await untilRestored(qmp)
          await qmp.execute('cont')
          await untilLonger(join(folder, 'stdout.log'), 0)
          const span = performance.now() - began
          qmp.close()
          await qemu.kill()
          return span
        } finally {
          closeSync(file)
        }
      },
    }
    yield {
      what: 'from saved memory to output',
      against: 'our own cold boot',
      kind: 'process',
      unit: 'ms',
      rounds: 12,
      bar: { on: 'ratio', most: 0.07 },
      ours: restored,
      async theirs() {
        await vm.kill('SIGKILL')
        await vm.wait()
        const size = sizeOf(output)
        const began = performance.now()
        await vm.start()
        await untilLonger(output, size)
        return performance.now() - began
      },
    }
    await vm.delete({ force: true })
  } finally {
    for (const path of [folder, root]) rmSync(path, { recursive: true, force: true })
  }
}

async function untilRestored(qmp: Awaited<ReturnType<typeof bareQmp>>): Promise<void> {
  while (((await qmp.execute('query-status')) as { status: string }).status === 'inmigrate')
    await new Promise((resolve) => setTimeout(resolve, 1))
}
