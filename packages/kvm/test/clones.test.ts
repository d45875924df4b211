import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { clone } from '../src/snapshots/clone.js'
import { snapshot } from '../src/snapshots/snapshots.js'
import { bed, ctx } from './counting-machine.js'
import { makeRoot } from './guest-root.js'
import { bench, requireQemu } from './support.js'

const hasQemu = await requireQemu()

describe.skipIf(!hasQemu)(`clones${hasQemu ? '' : ' (not run: no QEMU; scripts/backends up installs it)'}`, () => {
  const root = makeRoot()
  const machines = bench()
  type Full = Awaited<ReturnType<typeof machines.create>>
  let vm: Full
  beforeAll(async () => {
    vm = await machines.create({ name: 'template', rootfs: root, memory: '128MiB', command: ['sleep', '2147483'] })
    await vm.start()
    if (!vm.supports('exec') || !vm.supports('files')) throw new Error('this guest has an agent')
    await vm.exec(['sh', '-c', 'echo before > /kept; mkdir -p /etc; echo 0 > /etc/machine-id'])
  }, 150_000)
  afterAll(async () => {
    await machines[Symbol.asyncDispose]()
    rmSync(root, { recursive: true })
  })

  async function sh(machine: Full, script: string): Promise<string> {
    if (!machine.supports('exec')) throw new Error(`exec is missing: ${machine.missing.exec}`)
    return (await machine.exec(['sh', '-c', script])).stdout.trim()
  }

  it('ten of one memory, each of them a machine of its own', { timeout: 120_000 }, async () => {
    if (!vm.supports('snapshot.memory') || !vm.supports('clone')) throw new Error('claimed')
    await sh(vm, 'echo running > /tmp/state')
    await vm.snapshot('warm', { memory: true })
    await sh(vm, 'echo later > /kept')
    const began = performance.now()
    const clones: Full[] = []
    for (let index = 0; index < 10; index += 1) clones.push((await vm.clone('warm', { name: `clone-${index}` })) as Full)
    console.log(`ten clones from memory: ${(performance.now() - began).toFixed(0)} ms`)
    expect(await sh(vm, 'cat /kept')).toBe('later')
    const facts = await Promise.all(
      clones.map(async (machine) => ({
        state: (await machine.status()).state,
        kept: await sh(machine, 'cat /kept /tmp/state'),
        host: await sh(machine, 'hostname'),
        id: await sh(machine, 'cat /etc/machine-id'),
        random: await sh(machine, 'head -c 16 /dev/urandom | od -An -tx1'),
        mac: await sh(machine, 'cat /sys/class/net/eth0/address'),
        macs: (await machine.info()).details?.macs,
      })),
    )
    for (const { state, kept } of facts) expect([state, kept]).toEqual(['running', 'before\nrunning'])
    expect(facts.map(({ host }) => host)).toEqual(clones.map(({ name }) => name))
    expect(facts.map(({ mac }) => [mac])).toEqual(facts.map(({ macs }) => macs))
    for (const key of ['id', 'random', 'mac'] as const) expect(new Set(facts.map((fact) => fact[key])).size, key).toBe(10)
    await Promise.all(clones.slice(1).map((machine) => machine.delete({ force: true })))
    const [first] = clones as [Full]
    if (vm.supports('snapshot.memory')) await vm.deleteSnapshot('warm')
    expect(await sh(first, 'echo more >> /kept; sync; cat /kept'), 'the base may go before its clones').toBe('before\nmore')
    await first.delete({ force: true })
  })

  it('of a disk, made while the machine runs, boot under their own name', { timeout: 180_000 }, async () => {
    if (!vm.supports('snapshot.disk') || !vm.supports('clone')) throw new Error('claimed')
    await sh(vm, 'echo consistent > /kept')
    await vm.snapshot('clean')
    await sh(vm, 'echo later > /kept')
    const began = performance.now()
    const copy = (await vm.clone('clean', { name: 'copy' })) as Full
    console.log(`clone from a disk: ${(performance.now() - began).toFixed(1)} ms`)
    expect((await copy.status()).state).toBe('created')
    await vm.deleteSnapshot('clean')
    await copy.start()
    expect(await sh(copy, 'cat /kept; hostname')).toBe('consistent\ncopy')
    await copy.delete({ force: true })
    expect(await sh(vm, 'cat /kept')).toBe('later')
  })

  it('from memory are refused without an agent, and leave nothing', async () => {
    await using place = await bed()
    const { host } = place
    const machine = await place.counting()
    await snapshot(host, machine, 'warm', { memory: true }, ctx)
    await snapshot(host, machine, 'clean', { memory: false }, ctx)
    const request = { tag: 'warm', name: 'clone', labels: {} }
    await expect(clone(host, machine, request, ctx)).rejects.toMatchObject({ code: 'UNSUPPORTED', capability: 'clone.memory' })
    await expect(clone(host, machine, { ...request, tag: 'none' }, ctx)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(clone(host, machine, { ...request, name: machine.name }, ctx)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    expect(readdirSync(join(place.stateDir, 'machines'))).toEqual([machine.id])
    expect(readdirSync(join(place.stateDir, 'pending'))).toEqual([])
    await clone(host, machine, { ...request, tag: 'clean' }, ctx)
    expect(
      host.store
        .list()
        .map(({ name }) => name)
        .sort(),
    ).toEqual(['clone', 'counter'])
  })
})
