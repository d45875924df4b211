import { readdirSync, readlinkSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Comparison } from '../suite.js'
import { argumentsOf, type Bed, bareFolder, MEMORY, startBare, timed, untilLonger, writeBootSector } from './bed.js'
import { bareQmp } from './qmp.js'

/** What the driver adds to a boot: the guest is one sector, so that most of the time is QEMU's and ours. */
export async function* bootRows(place: Bed): AsyncIterable<Comparison> {
  const image = join(place.stateDir, 'letter.raw')
  writeBootSector(image)
  const config = () => ({ name: place.name(), disk: { image }, memory: MEMORY, driverOptions: { kvm: { accel: 'tcg' as const } } })
  const model = await place.create(config())
  await model.start()
  const { pid } = await model.info()
  const bare = argumentsOf(pid as number)
  const folder = bareFolder(place.folderOf(model.id))
  try {
    yield {
      what: 'create to first output',
      against: 'bare QEMU',
      kind: 'process',
      unit: 'ms',
      rounds: 30,
      bar: { on: 'difference', most: 40 },
      async ours() {
        const began = performance.now()
        const vm = await place.create(config())
        await vm.start()
        await untilLonger(join(place.folderOf(vm.id), 'console.log'), 0)
        const span = performance.now() - began
        await vm.delete({ force: true })
        return span
      },
      async theirs() {
        const began = performance.now()
        const qemu = startBare(bare, folder)
        await untilLonger(join(folder, 'console.log'), 0)
        const span = performance.now() - began
        await qemu.kill()
        return span
      },
    }
    yield {
      what: 'start until QEMU answers',
      against: 'bare QEMU and a connection',
      kind: 'process',
      unit: 'ms',
      rounds: 60,
      bar: { on: 'difference', most: 15 },
      async ours() {
        const vm = await place.create(config())
        const span = await timed(() => vm.start())
        await vm.delete({ force: true })
        return span
      },
      async theirs() {
        const began = performance.now()
        const qemu = startBare(bare, folder)
        const qmp = await bareQmp(join(folder, 'qmp.sock'))
        const span = performance.now() - began
        qmp.close()
        await qemu.kill()
        return span
      },
    }
    const kept = startBare(bare, folder)
    const qmp = await bareQmp(join(folder, 'qmp.sock'))
    yield {
      what: 'pause and resume',
      against: 'QMP on a kept connection',
      kind: 'process',
      unit: 'ms',
      rounds: 60,
      bar: { on: 'value', most: 5 },
      ours: () =>
        timed(async () => {
          await model.pause()
          await model.resume()
        }),
      theirs: () =>
        timed(async () => {
          await qmp.execute('stop')
          await qmp.execute('cont')
        }),
    }
    qmp.close()
    await kept.kill()
    yield {
      what: 'processes beside QEMU',
      against: 'none',
      kind: 'memory',
      unit: 'count',
      rounds: 3,
      bar: { on: 'value', most: 0 },
      ours: async () => workingIn(place.folderOf(model.id)) - 1,
      theirs: async () => 0,
    }
    await model.delete({ force: true })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** How many processes have their working folder there. */
function workingIn(folder: string): number {
  return readdirSync('/proc').filter((name) => {
    try {
      return /^\d+$/.test(name) && readlinkSync(`/proc/${name}/cwd`) === folder
    } catch {
      return false
    }
  }).length
}
