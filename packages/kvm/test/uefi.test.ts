import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { makeRoot } from './guest-root.js'
import { bench, requireQemu } from './support.js'

const hasQemu = await requireQemu()
const root = makeRoot()
afterAll(() => rmSync(root, { recursive: true }))

const driverOptions = { kvm: { uefi: true, network: { kind: 'none' as const } } }
/** Nothing to boot: the firmware says so. */
const bare = { name: 'bare', disk: { size: '1MiB' }, memory: '128MiB', driverOptions }

async function uefiBench() {
  const machines = bench()
  const driver = machines.manager.driver('kvm')
  await driver.probe()
  if (!driver.supports('bundle') || !driver.supports('clone') || !driver.supports('migrate.live')) throw new Error('claimed')
  return { ...machines, target: driver }
}

/** One that no other machine has, in the spare area behind those that UEFI wrote. */
function markVariables(path: string): void {
  const variables = readFileSync(path)
  variables[variables.length - 1] = 0x5a
  writeFileSync(path, variables)
}

describe.skipIf(!hasQemu)(`UEFI${hasQemu ? '' : ' (not run: no QEMU; scripts/backends up installs it)'}`, () => {
  // The firmware runs as long as the kernel under TCG: seconds on a quiet host, half a minute each beside ten busy programs.
  it('boots Linux, for a machine of a root file system', { timeout: 240_000 }, async () => {
    await using machines = bench()
    const command = ['sh', '-c', 'ls /sys/firmware/efi >/dev/null && echo booted by UEFI']
    const vm = await machines.create({ rootfs: root, memory: '256MiB', command, driverOptions })
    const began = performance.now()
    await vm.start()
    expect(await vm.wait()).toMatchObject({ code: 0, reason: 'exited' })
    console.info(`from start by UEFI to exit: ${Math.round(performance.now() - began)} ms`)
    const lines: string[] = []
    for await (const { text } of vm.logs({ sources: ['stdout'] })) lines.push(text)
    expect(lines).toEqual(['booted by UEFI'])
  })

  it('keeps its variables for each machine, and they go along to clones, bundles and other hosts', { timeout: 180_000 }, async () => {
    await using here = await uefiBench()
    await using there = await uefiBench()
    const vm = await here.create(bare)
    const fileOf = (stateDir: string, id: string): string => join(stateDir, 'machines', id, 'firmware.fd')
    const own = fileOf(here.stateDir, vm.id)
    markVariables(own)
    const variables = readFileSync(own)
    if (!vm.supports('clone') || !vm.supports('snapshot.disk') || !vm.supports('bundle')) throw new Error(JSON.stringify(vm.missing))
    await vm.snapshot('new')
    const copy = await vm.clone('new', { name: 'copy' })
    expect(readFileSync(fileOf(here.stateDir, copy.id)).equals(variables), 'of the clone').toBe(true)
    const imported = await there.target.importBundle(vm.exportBundle(), { name: 'imported' })
    expect(readFileSync(fileOf(there.stateDir, imported.id)).equals(variables), 'of the bundle').toBe(true)
    for (const other of [copy, imported]) {
      await other.start()
      expect(await other.status()).toEqual({ state: 'running' })
      await other.delete({ force: true })
    }
    if (!vm.supports('migrate.cold')) throw new Error(vm.missing['migrate.cold'])
    const { vm: moved } = await vm.migrate(there.target)
    expect(readFileSync(fileOf(there.stateDir, moved.id)).equals(variables), 'of the one that moved').toBe(true)
    await moved.start()
    await moved.waitFor({ log: /BdsDxe/, timeoutMs: 100_000 })
    if (!moved.supports('migrate.live')) throw new Error(moved.missing['migrate.live'])
    const { vm: back } = await moved.migrate(here.target, { live: true })
    expect(await back.status()).toEqual({ state: 'running' })
  })
})
