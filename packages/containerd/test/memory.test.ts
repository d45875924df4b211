/** Memory that is saved by CRIU: gone back to, cloned, moved with what it has open, and refused by CRIU. */
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { createManager } from '@vmkit/core'
import { expect, it, type TestContext } from 'vitest'
import { containerd } from '../src/driver.js'
import { connect } from './engine.js'
import { forEachPair, type Machine, type Pair } from './pairs.js'
import { traces } from './traces.js'

/** Its memory holds a number of its own, by which a process that began anew would be told. */
const TICK = [
  'sh',
  '-c',
  'own=$RANDOM$RANDOM; i=0; while :; do i=$((i+1)); echo tick $i; echo $own $i > /data/new; mv /data/new /data/count; sleep 0.1; done',
]
/** Writes into a file of a volume that it opened once. */
const KEEP = ['sh', '-c', 'own=$RANDOM$RANDOM; i=0; exec 3>>/kept/lines; while :; do i=$((i+1)); echo $own $i >&3; sleep 0.05; done']

/** Where CRIU is not, the probe says so, and the test does not run for that reason. */
async function unavailable(pair: Pair, vm: Machine, { skip }: TestContext): Promise<void> {
  const { missing } = await pair.here.driver('containerd').probe()
  expect(missing['snapshot.memory']).toMatch(/CRIU/)
  await vm.delete()
  skip(`no CRIU: ${missing['snapshot.memory']}`)
}

const volume = { volumes: [{ name: 'kept', target: '/kept' }] }
const linesOf = async (vm: Machine) => (await vm.exec(['cat', '/kept/lines'])).stdout.trim().split('\n')

forEachPair('memory', (pair) => {
  it('back to a snapshot, as a clone, and live to another daemon', { timeout: 45_000 }, async (test) => {
    const vm = await pair.create(TICK)
    if (!vm.supports('snapshot.memory') || !vm.supports('migrate.live')) return unavailable(pair, vm, test)
    await vm.start()
    await vm.waitFor({ log: 'tick 5', timeoutMs: 10_000 })
    const count = async (machine: typeof vm) => {
      const [own = '', ticks = ''] = (await machine.exec(['cat', '/data/count'])).stdout.trim().split(' ')
      return { own, ticks: Number(ticks) }
    }
    const before = await count(vm)
    await vm.snapshot('warm', { memory: true })
    // At once: what containerd still has of the one before is no obstacle.
    await vm.snapshot('again', { memory: true })
    expect((await vm.status()).state).toBe('running')
    await vm.exec(['touch', '/data/later'])
    await vm.restore('warm')
    expect((await vm.status()).state).toBe('running')
    expect((await vm.exec(['test', '-e', '/data/later'])).exitCode).toBe(1)
    const copy = (await vm.clone('warm', { onDispose: 'detach' })) as typeof vm
    expect((await copy.status()).state).toBe('running')
    for (const each of [vm, copy]) {
      const now = await count(each)
      expect(now.own).toBe(before.own)
      expect(now.ticks).toBeGreaterThanOrEqual(before.ticks)
    }
    await copy.delete({ force: true })
    await vm.deleteSnapshot('warm')
    const last = await count(vm)
    const { vm: moved } = await vm.migrate(pair.there.lookup('containerd'), { live: true })
    const arrived = await count(moved as unknown as typeof vm)
    expect(arrived.own).toBe(before.own)
    expect(arrived.ticks).toBeGreaterThanOrEqual(last.ticks)
    await moved.delete({ force: true })
  })

  it('live with a volume, and with the files that are open in it', { timeout: 45_000 }, async (test) => {
    const vm = await pair.create(KEEP, volume)
    if (!vm.supports('migrate.live')) return unavailable(pair, vm, test)
    await vm.start()
    await vm.waitFor({ exec: ['test', '-s', '/kept/lines'], timeoutMs: 10_000 })
    const { vm: arrived } = await vm.migrate(pair.there.lookup('containerd'), { live: true })
    const moved = arrived as unknown as Machine
    const source = join(pair.options.here.stateDir, pair.options.here.namespace, 'volumes/kept/data/lines')
    const sent = readFileSync(source, 'utf8').trim().split('\n')
    await expect.poll(async () => (await linesOf(moved)).length, { timeout: 10_000 }).toBeGreaterThan(sent.length + 3)
    const lines = await linesOf(moved)
    const [own = ''] = (lines[0] as string).split(' ')
    // No line is lost or repeated, and none went to the volume that was left behind.
    expect(lines).toEqual(lines.map((_, index) => `${own} ${index + 1}`))
    expect(readFileSync(source, 'utf8').trim().split('\n')).toEqual(sent)
    await moved.delete({ force: true })
    for (const manager of [pair.here, pair.there]) await manager.driver('containerd').volumes.remove('kept')
  })

  it('that CRIU refuses is an error with a type, and leaves nothing', { timeout: 45_000 }, async (test) => {
    const vm = await pair.create(KEEP, volume)
    if (!vm.supports('snapshot.memory') || !vm.supports('clone')) return unavailable(pair, vm, test)
    await vm.start()
    await vm.waitFor({ exec: ['test', '-s', '/kept/lines'], timeoutMs: 10_000 })
    await vm.snapshot('warm', { memory: true })
    await vm.stop({ graceMs: 0 })
    // A file that was open is not there any more.
    rmSync(join(pair.options.here.stateDir, pair.options.here.namespace, 'volumes/kept/data/lines'))
    const before = await traces(pair.options.here)
    const refusal = { code: 'BACKEND_ERROR', message: expect.stringMatching(/criu/i) }
    await expect(vm.clone('warm')).rejects.toMatchObject(refusal)
    expect(await traces(pair.options.here)).toEqual(before)
    // It stays stopped, with the disk of the snapshot, and can be started anew.
    await expect(vm.restore('warm')).rejects.toMatchObject(refusal)
    expect((await vm.status()).state).toBe('stopped')
    await vm.start()
    expect((await vm.status()).state).toBe('running')
    await vm.delete({ force: true })
    await pair.here.driver('containerd').volumes.remove('kept')
    expect(await traces(pair.options.here)).toEqual([])
  })
})

// What is taken back is this driver's, whatever the version.
forEachPair(
  'memory',
  (pair) => {
    it('that does not go on at the target leaves it clean, and the source running', { timeout: 45_000 }, async (test) => {
      const vm = await pair.create(KEEP, volume)
      if (!vm.supports('migrate.live')) return unavailable(pair, vm, test)
      await vm.start()
      await vm.waitFor({ exec: ['test', '-s', '/kept/lines'], timeoutMs: 10_000 })
      const { there } = pair.options
      const target = containerd(there) as Required<ReturnType<typeof containerd>>
      await using broken = createManager({ drivers: { containerd: { ...target, finishIncoming } } })
      await broken.driver('containerd').probe()
      await expect(vm.migrate(broken.lookup('containerd'), { live: true })).rejects.toMatchObject({
        code: expect.stringMatching(/^(BACKEND_ERROR|INVALID_CONFIG)$/),
      })
      expect((await vm.status()).state).toBe('running')
      const lines = await linesOf(vm)
      await expect.poll(async () => (await linesOf(vm)).length, { timeout: 10_000 }).toBeGreaterThan(lines.length)
      expect(await traces(there)).toEqual([])
      expect(await pair.there.driver('containerd').volumes.list()).toEqual([])
      await vm.delete({ force: true })
      await pair.here.driver('containerd').volumes.remove('kept')

      /** Something arrives that is no memory. */
      async function finishIncoming(...[ticket, ctx]: Parameters<typeof target.finishIncoming>) {
        const link = connect(there.socketPath, there.namespace)
        const { images } = await link.get()
        for (const image of (await images.list({})).images) {
          const key = Object.keys(image.labels).find((label) => label.endsWith('incoming.memory'))
          if (key === undefined || !image.target) continue
          const memory = JSON.parse(image.labels[key] as string) as object
          image.labels[key] = JSON.stringify({ ...memory, digest: image.target.digest, size: Number(image.target.size) })
          await images.update({ image, updateMask: { paths: ['labels'] } })
        }
        link.close()
        return target.finishIncoming(ticket, ctx)
      }
    })
  },
  ['1.6'],
)
