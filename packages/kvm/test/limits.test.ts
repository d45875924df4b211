import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { findControllers } from '../src/cgroups/controllers.js'
import { makeRoot } from './guest-root.js'
import { bench, capable, requireQemu } from './support.js'

const hasQemu = await requireQemu()
const host = findControllers()
const lacking = Object.values(host.missing)[0]
const why = hasQemu ? (lacking === undefined ? '' : ` (not run: ${lacking})`) : ' (not run: no QEMU; scripts/backends up installs it)'

describe.skipIf(why !== '')(`limits of the host${why}`, () => {
  const root = makeRoot()
  afterAll(() => rmSync(root, { recursive: true }))
  const folder = (controller: 'cpu' | 'memory' | 'pids', id: string): string => join(host.parents[controller] ?? '', `vmkit-kvm-${id}`)
  const value = (controller: 'cpu' | 'memory' | 'pids', id: string, v1: string, v2: string): string =>
    readFileSync(join(folder(controller, id), host.version === 1 ? v1 : v2), 'latin1').trim()
  const GUEST = 128 * 2 ** 20

  it('hold a QEMU by its group, which goes with it', { timeout: 180_000 }, async () => {
    await using machines = bench()
    const limits = { memory: GUEST + 256 * 2 ** 20, pids: 200 }
    const vm = await machines.create({
      rootfs: root,
      cpus: 0.5,
      memory: GUEST,
      command: ['/bin/sh', '-c', 'echo up; while :; do :; done'],
      driverOptions: { kvm: { limits } },
    })
    await vm.start()
    const { pid } = await vm.info()
    for (const controller of ['cpu', 'memory', 'pids'] as const) {
      expect(
        readFileSync(join(folder(controller, vm.id), 'cgroup.procs'), 'latin1')
          .trim()
          .split('\n'),
      ).toEqual([String(pid)])
    }
    expect(value('cpu', vm.id, 'cpu.cfs_quota_us', 'cpu.max')).toMatch(/^50000/)
    expect(value('memory', vm.id, 'memory.limit_in_bytes', 'memory.max')).toBe(String(limits.memory))
    expect(value('pids', vm.id, 'pids.max', 'pids.max')).toBe('200')
    await vm.waitFor({ log: 'up', timeoutMs: 120_000 })

    // A guest that never rests gets its half, and no more.
    const used = async (): Promise<number> => (await vm.metrics()).cpu.usageMs ?? Number.NaN
    // Its QEMU answers late, since it shares that half: the time of both readings counts.
    const began = performance.now()
    const from = await used()
    await new Promise((resolve) => setTimeout(resolve, 2000))
    const share = ((await used()) - from) / (performance.now() - began)
    console.log(`a guest with half a CPU used ${share.toFixed(2)} of one`)
    expect(share).toBeGreaterThan(0)
    expect(share).toBeLessThan(0.65)

    if (!vm.supports('resize')) throw new Error('claimed')
    await vm.resize({ cpus: 0.8 })
    expect(value('cpu', vm.id, 'cpu.cfs_quota_us', 'cpu.max')).toMatch(/^80000/)
    expect((await vm.info()).config.cpus).toBe(0.8)
    await expect(vm.resize({ cpus: 1.5 })).rejects.toMatchObject({ code: 'UNSUPPORTED', field: 'cpus' })

    await vm.stop({ graceMs: 0 })
    expect(existsSync(folder('cpu', vm.id))).toBe(false)
    await vm.start()
    expect(existsSync(folder('cpu', vm.id))).toBe(true)
    await vm.delete({ force: true })
    for (const controller of ['cpu', 'memory', 'pids'] as const) expect(existsSync(folder(controller, vm.id))).toBe(false)
  })

  it('are refused where they would end QEMU itself', async () => {
    await using machines = bench()
    const refused = async (limits: object, field: string) =>
      expect(machines.create({ disk: { size: '1MiB' }, memory: GUEST, driverOptions: { kvm: { limits } } })).rejects.toMatchObject({
        code: 'INVALID_CONFIG',
        field: `config.driverOptions.kvm.limits.${field}`,
      })
    await refused({ memory: GUEST }, 'memory')
    await refused({ pids: 10 }, 'pids')
    await refused({ cpus: 0 }, 'cpus')
    expect(await machines.manager.driver('kvm').list()).toEqual([])
    const { details } = await machines.manager.driver('kvm').probe()
    expect(details?.['host limits']).toBe(`cgroup v${host.version}: cpu, memory, pids`)
  })

  it('tell of a QEMU that the kernel ended for want of memory', { timeout: 180_000 }, async () => {
    await using machines = bench()
    const limits = { memory: GUEST + 512 * 2 ** 20 }
    const vm = await machines.create({
      rootfs: root,
      memory: GUEST,
      command: ['/bin/sh', '-c', 'echo up; exec sleep 100000'],
      driverOptions: { kvm: { limits } },
    })
    // Pages of files are charged to who reads them first: what its QEMU holds must be nothing that the kernel would rather give up.
    const home = join(machines.stateDir, 'machines', vm.id)
    for (const entry of readdirSync(home, { withFileTypes: true })) if (entry.isFile()) readFileSync(join(home, entry.name))
    await vm.start()
    await vm.waitFor({ log: 'up', timeoutMs: 120_000 })
    // As if it had been made with less: what it holds now, and a little.
    const [limit, usage] = host.version === 1 ? ['memory.limit_in_bytes', 'memory.usage_in_bytes'] : ['memory.max', 'memory.current']
    const held = Number(value('memory', vm.id, usage, usage))
    writeFileSync(join(folder('memory', vm.id), limit), String(held + 4 * 2 ** 20))
    const filling = capable(vm)
      .exec(['sh', '-c', 'head -c 50000000 /dev/urandom > /dev/shm/filled'])
      .catch(() => {})
    expect(await vm.wait()).toMatchObject({ code: null, signal: 'SIGKILL', oom: true, reason: 'oom' })
    await filling
    expect(await vm.status()).toMatchObject({ state: 'failed', reason: expect.stringContaining('limits') })
    await vm.start()
    expect((await vm.status()).state, 'with the limit of its config again').toBe('running')
    await vm.delete({ force: true })
    expect(existsSync(folder('memory', vm.id))).toBe(false)
  })
})
