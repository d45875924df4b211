/** What is Kata's own, on the STAND-IN: refusals, verified changes, and a sandbox that vanishes. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
// Registers it: a driver that has what Kata lacks.
import '@vmkit/containerd'
import { createManager, type VMConfig } from '@vmkit/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type KataOptions, kata } from '../src/driver.js'
import { ensureTestImage, IMAGE, leftovers, requireStandIn, STAND_IN, socketPath, stateFolder, why } from './stand-in.js'

const namespace = 'vmkit-kata-test'
const stateDir = stateFolder()
const options: KataOptions = { namespace, stateDir, socketPath, runtime: STAND_IN, allowStandIn: true, cni: { subnet: '10.90.0.0/16' } }
const managerOf = (changes: KataOptions = {}) => createManager({ drivers: { kata: kata({ ...options, ...changes }) } })
const idle = (changes: VMConfig = {}): VMConfig => ({
  image: IMAGE,
  pull: 'never',
  command: ['sh', '-c', "trap 'exit 0' TERM; while :; do sleep 0.1; done"],
  ...changes,
})

describe.skipIf(!requireStandIn())(`kata${why}`, () => {
  beforeAll(() => ensureTestImage(options))
  afterAll(async () => expect(await leftovers(namespace, stateDir)).toEqual([]))

  it('says in its probe that it is a stand-in, and refuses one that was not asked for', async () => {
    await using manager = managerOf()
    const probe = await manager.driver('kata').probe()
    expect(probe).toMatchObject({ available: true, engine: expect.stringMatching(/^STAND-IN for Kata .*containerd 1\.6/) })
    await using strict = managerOf({ allowStandIn: false })
    expect(await strict.driver('kata').probe()).toMatchObject({ available: false, reason: expect.stringContaining("is not Kata's") })
    await expect(strict.create(idle(), { driver: 'kata' })).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' })
  })

  it('refuses memory snapshots and live migration with the reason', async () => {
    await using manager = managerOf()
    await using vm = await manager.create(idle(), { driver: 'kata' })
    for (const capability of ['snapshot.memory', 'migrate.live'] as const) {
      expect(vm.supports(capability)).toBe(false)
      expect((await manager.driver('kata').probe()).missing[capability]).toContain('no Checkpoint')
    }
    const full = vm as unknown as { snapshot(tag: string, how: object): Promise<unknown> }
    await expect(full.snapshot('x', { memory: true })).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      capability: 'snapshot.memory',
      message: expect.stringContaining('no Checkpoint'),
      // Kata itself is not among them.
      hint: expect.stringMatching(/^Registered drivers that have `snapshot\.memory`: containerd$/),
    })
    expect(await vm.snapshots()).toEqual([])
  })

  it('reads accounts and files inside while it runs, and in the snapshot when it is stopped', async () => {
    await using manager = managerOf()
    await using vm = await manager.create(idle(), { driver: 'kata' })
    await vm.start()
    const mounts = () =>
      readFileSync('/proc/self/mountinfo', 'utf8')
        .split('\n')
        .filter((line) => line.includes(stateDir))
    const before = mounts()
    expect((await vm.exec(['id', '-u'], { user: 'worker' })).stdout).toBe('1000\n')
    await vm.files.write('/data/kept', 'from a run')
    // What only the guest has mounted is seen, which a mount of the snapshot would not show.
    await vm.exec(['sh', '-c', 'echo in memory > /dev/shm/own'])
    expect(await vm.files.readText('/dev/shm/own')).toBe('in memory\n')
    expect(mounts()).toEqual(before)
    if (!vm.supports('pause')) throw new Error('no freezer')
    await vm.pause()
    await expect(vm.files.read('/data/kept')).rejects.toMatchObject({ code: 'INVALID_STATE', hint: expect.stringContaining('Resume') })
    await vm.resume()
    // An image that has not what is needed.
    await vm.exec(['rm', '/bin/sh'])
    await expect(vm.files.read('/data/kept')).rejects.toMatchObject({ code: 'UNSUPPORTED', message: expect.stringContaining('/bin/sh') })
    await vm.kill('SIGKILL')
    expect(await vm.files.readText('/data/kept')).toBe('from a run')
    expect((await vm.files.list('/data')).map(({ name }) => name)).toEqual(['kept'])
  })

  it('refuses settings that the host does not allow, before anything is made', async () => {
    await using manager = managerOf()
    const settings = { hypervisor: { kernel: '/k' } }
    await expect(manager.create(idle({ driverOptions: { kata: settings } }), { driver: 'kata' })).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      field: 'config.driverOptions.kata.hypervisor.kernel',
    })
    await expect(manager.create(idle({ networks: ['host'] }), { driver: 'kata' })).rejects.toMatchObject({ code: 'UNSUPPORTED' })
    expect(await leftovers(namespace, stateDir)).toEqual([])
  })

  it('puts allowed settings into the OCI spec', async () => {
    await using manager = managerOf()
    await using vm = await manager.create(idle({ driverOptions: { kata: { guestSeccomp: true, agent: { container_pipe_size: 4096 } } } }), {
      driver: 'kata',
    })
    const details = (await vm.info()).details as { container: string }
    const info = execFileSync(
      'ctr',
      ['--address', socketPath as string, '--namespace', namespace, 'containers', 'info', details.container],
      { encoding: 'utf8' },
    )
    const { Spec, Runtime } = JSON.parse(info) as { Spec: { annotations: Record<string, string> }; Runtime: { Name: string } }
    expect(Runtime.Name).toBe(STAND_IN)
    expect(Spec.annotations).toMatchObject({
      'io.katacontainers.config.runtime.disable_guest_seccomp': 'false',
      'io.katacontainers.config.agent.container_pipe_size': '4096',
    })
  })

  it('verifies a resize inside, and keeps what held before when it does not', async () => {
    await using manager = managerOf()
    const driver = manager.driver('kata')
    await using vm = await driver.create(idle({ memory: '64MiB', cpus: 1 }))
    await vm.start()
    if (!vm.supports('resize')) throw new Error('no cgroups')
    await vm.resize({ memory: '96MiB', cpus: 0.5 })
    expect((await vm.info()).config).toMatchObject({ memory: 96 * 2 ** 20, cpus: 0.5 })
    // An image without a cat cannot show that the limits hold.
    await vm.exec(['rm', '/bin/cat'])
    await expect(vm.resize({ memory: '80MiB' })).rejects.toMatchObject({ code: 'GUEST_ERROR', message: expect.stringContaining('cat') })
    expect((await vm.info()).config).toMatchObject({ memory: 96 * 2 ** 20 })
  })

  it('begins the log anew with each run, as Kata’s shims write from the start of the file', async () => {
    await using manager = managerOf()
    await using vm = await manager.create(idle({ command: ['sh', '-c', 'echo run; echo >> /data/runs; wc -l < /data/runs'] }), {
      driver: 'kata',
    })
    for (const run of ['1', '2']) {
      await vm.start()
      await vm.wait()
      const lines: string[] = []
      for await (const { text } of vm.logs()) lines.push(text)
      expect(lines).toEqual(['run', run])
    }
  })

  it('is gone when a SIGKILL is over', async () => {
    await using manager = managerOf()
    await using vm = await manager.create(idle(), { driver: 'kata' })
    await vm.start()
    await vm.kill('SIGKILL')
    expect((await vm.status()).state).toBe('stopped')
  })

  it('ends the children of a command that ran too long', async () => {
    await using manager = managerOf()
    await using vm = await manager.create(idle(), { driver: 'kata' })
    await vm.start()
    const done = await vm.exec(['sh', '-c', 'sleep 4321 & sleep 4322'], { timeoutMs: 500 })
    expect(done.timedOut).toBe(true)
    expect((await vm.exec(['sh', '-c', 'ps | grep -c "[s]leep 43"'])).stdout.trim()).toBe('0')
  })

  it('does not take a sandbox that vanished for one that ended well', async () => {
    await using manager = managerOf()
    await using vm = await manager.create(idle(), { driver: 'kata' })
    await vm.start()
    const { pid } = await vm.info()
    const shim = parentOf(pid as number)
    expect(readFileSync(`/proc/${shim}/cmdline`, 'latin1')).toContain('containerd-shim-kata-v2')
    const exit = vm.wait()
    process.kill(shim, 'SIGKILL')
    const { code, reason } = await exit
    expect({ code, reason }).not.toEqual({ code: 0, reason: 'exited' })
    expect((await vm.status()).exit?.code).not.toBe(0)
  })
})

/** By proc(5): the fourth field of stat, behind the name in brackets. */
function parentOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
}
