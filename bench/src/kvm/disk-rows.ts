import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Comparison, Run } from '../suite.js'
import { type Bed, MEMORY, temporary, timed, writeBootSector } from './bed.js'

/** Many machines, and large disks, of which nothing is started. */
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
