import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeRoot } from './guest-root.js'
import { nextQemu } from './next-qemu.js'
import { bench, requireQemu } from './support.js'

const hasQemu = await requireQemu()

const next = nextQemu()
if (!next && process.env.VMKIT_REQUIRE_BACKENDS === '1') throw new Error('there is no newer QEMU; scripts/backends up unpacks it')

describe
  .skipIf(!hasQemu)
  .each([
    { name: hasQemu ? '' : ' (not run: no QEMU; scripts/backends up installs it)' },
    ...(next ? [{ name: ' of a newer QEMU', binary: next }] : []),
  ])('templates$name', ({ binary }) => {
  const root = makeRoot()
  const machines = bench(binary === undefined ? {} : { binary })
  type Full = Awaited<ReturnType<typeof machines.create>>
  let vm: Full
  const folderOf = (id: string): string => join(machines.stateDir, 'machines', id)
  const ramOf = (id: string): string => {
    const snapshots = join(folderOf(id), 'snapshots')
    return join(snapshots, readdirSync(snapshots).find((name) => name.endsWith('.ram')) as string)
  }
  const digest = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex')
  const privateKb = (pid: number | null): number =>
    [...readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1').matchAll(/^Private_(?:Clean|Dirty): +(\d+) kB/gm)].reduce(
      (sum, [, kb]) => sum + Number(kb),
      0,
    )

  beforeAll(async () => {
    vm = await machines.create({
      name: 'template',
      rootfs: root,
      memory: '128MiB',
      command: ['sleep', '2147483'],
      driverOptions: { kvm: { template: true } },
    })
    await vm.start()
    await sh(vm, 'echo before > /kept; echo warm > /tmp/state')
    if (!vm.supports('snapshot.memory')) throw new Error('claimed')
    const { sizeBytes } = await vm.snapshot('warm', { memory: true })
    expect(sizeBytes, 'what the guest never touched is a hole').toBeLessThan(128 * 2 ** 20)
  }, 120_000)
  afterAll(async () => {
    await machines[Symbol.asyncDispose]()
    rmSync(root, { recursive: true })
  })

  async function sh(machine: Full, script: string): Promise<string> {
    if (!machine.supports('exec')) throw new Error(`exec is missing: ${machine.missing.exec}`)
    return (await machine.exec(['sh', '-c', script])).stdout.trim()
  }
  async function cloned(name: string): Promise<Full> {
    if (!vm.supports('clone')) throw new Error('claimed')
    return (await vm.clone('warm', { name })) as Full
  }

  it('clones map its memory: each is a machine of its own, and none changes the template', { timeout: 180_000 }, async () => {
    const before = digest(ramOf(vm.id))
    const clones: Full[] = []
    const began = performance.now()
    for (const name of ['one', 'two', 'three']) clones.push(await cloned(name))
    console.log(`three clones from a template: ${(performance.now() - began).toFixed(0)} ms`)
    expect(await Promise.all(clones.map((machine) => sh(machine, 'hostname; cat /kept /tmp/state')))).toEqual(
      ['one', 'two', 'three'].map((name) => `${name}\nbefore\nwarm`),
    )
    expect(new Set(await Promise.all(clones.map((machine) => sh(machine, 'cat /sys/class/net/eth0/address')))).size).toBe(3)
    const [one, two, three] = clones as [Full, Full, Full]
    // Twenty megabytes of its own memory, and its own disk.
    await sh(one, 'head -c 20000000 /dev/urandom > /dev/shm/mine; echo mine > /tmp/state; sync')
    expect(await sh(two, 'cat /tmp/state; ls /dev/shm')).toBe('warm')
    expect(digest(ramOf(vm.id)), 'what a clone writes stays with it').toBe(before)
    for (const { id } of clones) expect(existsSync(join(folderOf(id), 'mapped.ram'))).toBe(false)
    const [shared, own] = [privateKb((await two.info()).pid), privateKb((await vm.info()).pid)]
    console.log(`memory that is one's own: a clone ${shared} kB, the template ${own} kB`)
    expect(shared).toBeLessThan(own / 2)

    await one.delete({ force: true })
    await two.delete({ force: true })
    if (!vm.supports('snapshot.memory')) throw new Error('claimed')
    await vm.deleteSnapshot('warm')
    expect(readdirSync(join(folderOf(vm.id), 'snapshots'))).toEqual([])
    expect(await sh(three, 'cat /kept /tmp/state'), 'the template may go before its clones').toBe('before\nwarm')
    await vm.snapshot('warm', { memory: true })

    // It maps memory that is not its own: its own snapshots are streams.
    if (!three.supports('snapshot.memory')) throw new Error('claimed')
    await sh(three, 'echo later > /tmp/state')
    await three.snapshot('mine', { memory: true })
    expect(readdirSync(join(folderOf(three.id), 'snapshots')).filter((name) => name.endsWith('.ram'))).toEqual([])
    await sh(three, 'echo too late > /tmp/state')
    await three.restore('mine')
    expect(await sh(three, 'cat /tmp/state; hostname')).toBe('later\nthree')
    // From then on it holds its own memory again.
    await three.snapshot('again', { memory: true })
    expect(existsSync(ramOf(three.id))).toBe(true)
    await three.delete({ force: true })
  })

  it('is restored in place, twice, and boots afresh afterwards', { timeout: 180_000 }, async () => {
    if (!vm.supports('snapshot.memory')) throw new Error('claimed')
    for (let round = 0; round < 2; round += 1) {
      await sh(vm, 'echo changed > /tmp/state; echo changed > /kept')
      const began = performance.now()
      await vm.restore('warm')
      console.log(`restored from a template: ${(performance.now() - began).toFixed(0)} ms`)
      expect(await sh(vm, 'cat /kept /tmp/state')).toBe('before\nwarm')
    }
    await vm.stop({ graceMs: 60_000 })
    expect(existsSync(join(folderOf(vm.id), 'memory.ram')), 'nothing of its memory is left').toBe(false)
    await vm.start()
    expect(await sh(vm, 'cat /kept')).toBe('before')
  })

  it('has no balloon, by which a clone could take memory from the others', async () => {
    if (!vm.supports('resize')) throw new Error('claimed')
    await expect(vm.resize({ memory: '64MiB' })).rejects.toMatchObject({ code: 'UNSUPPORTED', field: 'memory' })
    expect(await sh(vm, 'ls /sys/bus/virtio/drivers/virtio_balloon 2>/dev/null | grep -c virtio[0-9]')).toBe('0')
    const refused = { name: 'refused', disk: { size: '1MiB' }, driverOptions: { kvm: { template: true, hugepages: true } } }
    await expect(machines.create(refused)).rejects.toMatchObject({ code: 'UNSUPPORTED', field: 'config.driverOptions.kvm.template' })
  })
})
