import { execFileSync } from 'node:child_process'
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Comparison, Run } from '../suite.js'
import {
  argumentsOf,
  type Bed,
  bareFolder,
  bed,
  COUNTING,
  sizeOf,
  startBare,
  temporary,
  untilLonger,
  writeBootSector,
  writeRoot,
} from './bed.js'
import { bareQmp } from './qmp.js'

const MEMORY = 128 * 2 ** 20
const timed = async (task: () => Promise<unknown>): Promise<number> => {
  const began = performance.now()
  await task()
  return performance.now() - began
}

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

export async function* diskRows(place: Bed, { quick }: Run): AsyncIterable<Comparison> {
  const image = join(place.stateDir, 'letter.raw')
  writeBootSector(image)
  const vm = await place.create({ name: place.name(), disk: { image, size: '2GiB' }, memory: MEMORY })
  if (!vm.supports('snapshot.disk')) throw new Error(`no snapshots: ${vm.missing['snapshot.disk']}`)
  if (!vm.supports('clone')) throw new Error(`no clones: ${vm.missing.clone}`)
  await vm.snapshot('clean')
  const folder = temporary()
  yield {
    what: 'clone of a 2 GB disk',
    against: 'qemu-img create',
    kind: 'process',
    unit: 'ms',
    rounds: 60,
    bar: { on: 'value', most: 20 },
    async ours() {
      const began = performance.now()
      const copy = await vm.clone('clean', { name: place.name() })
      const span = performance.now() - began
      await copy.delete()
      return span
    },
    async theirs() {
      const target = join(folder, 'overlay.qcow2')
      const span = await timed(async () =>
        execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', image, '-F', 'raw', target, '2G'], { stdio: 'ignore' }),
      )
      rmSync(target)
      return span
    },
  }
  await vm.delete()
  const count = quick ? 10 : 100
  for (let index = 0; index < count; index += 1) await place.create({ name: place.name(), disk: { size: 2 ** 20 } })
  const machines = join(place.stateDir, 'machines')
  yield {
    what: `list() of ${count} machines`,
    against: 'reading their records',
    kind: 'process',
    unit: 'ms',
    rounds: 60,
    bar: { on: 'value', most: 20 },
    ours: () => timed(() => place.driver.list()),
    theirs: () =>
      timed(async () => {
        for (const id of readdirSync(machines)) JSON.parse(readFileSync(join(machines, id, 'record.json'), 'utf8'))
      }),
  }
  rmSync(folder, { recursive: true, force: true })
}

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
