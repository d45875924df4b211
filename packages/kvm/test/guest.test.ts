import { once } from 'node:events'
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { untilChange } from '@vmkit/core/state-folder'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { GuestInfo } from '../src/driver.js'
import { tinyGuest } from '../src/qemu/tiny-guest.js'
import { machineFolder } from '../src/state/machine-folder.js'
import { statusOf } from '../src/state/run.js'
import { makeRoot } from './guest-root.js'
import { bench, capable, requireQemu } from './support.js'

const hasQemu = await requireQemu()

describe.skipIf(!hasQemu)(`the guest${hasQemu ? '' : ' (not run: no QEMU; scripts/backends up installs it)'}`, () => {
  const root = makeRoot()
  const machines = bench()
  writeFileSync(join(root, 'etc/os-release'), 'PRETTY_NAME="A little Linux"\nID=little\nVERSION_ID=3\n')
  type Machine = Awaited<ReturnType<typeof machines.create>>
  let vm: Machine
  beforeAll(async () => {
    const script = 'echo run >> /runs; sync; echo up; exec sleep 100000'
    vm = await machines.create({ name: 'told', rootfs: root, memory: '128MiB', command: ['/bin/sh', '-c', script] })
    await vm.start()
    await vm.waitFor({ log: 'up', timeoutMs: 120_000 })
    // Its main process says so before PID 1 opens the port for questions.
    await capable(vm).exec(['/bin/sh', '-c', ':'])
  }, 150_000)
  afterAll(async () => {
    await machines[Symbol.asyncDispose]()
    rmSync(root, { recursive: true })
  })

  /** Without addresses: the kernel gives itself one of IPv6 some time after the boot. */
  const lasting = ({ interfaces, ...rest }: GuestInfo) => ({ ...rest, interfaces: interfaces.map(({ name, mac }) => ({ name, mac })) })

  async function ups(): Promise<number> {
    let count = 0
    for await (const { text } of vm.logs()) if (text === 'up') count += 1
    return count
  }

  it('tells its name, system and addresses', async () => {
    // Whoever asks waits two seconds for a guest, which a busy host may not give it.
    const answered = <T>(ask: () => Promise<T>): Promise<T> => vi.waitFor(ask, { timeout: 30_000 })
    const { addresses, details } = await answered(async () => {
      const info = await vm.info()
      if (!info.details?.guest) throw new Error(String(info.details?.['guest unknown because']))
      return info
    })
    expect(addresses, 'the user-mode network is not reached from the host').toEqual([])
    const told = await answered(() => machines.manager.driver('kvm').extras.guestInfo('told'))
    expect(lasting(details?.guest as GuestInfo)).toEqual(lasting(told))
    expect(told).toMatchObject({
      agent: 'vmkit',
      hostname: 'told',
      os: { id: 'little', name: 'A little Linux', version: '3' },
      machine: 'x86_64',
    })
    expect(told.kernel).toMatch(/^\d+\.\d+/)
    const eth0 = told.interfaces.find(({ name }) => name === 'eth0')
    expect([eth0?.mac]).toEqual(details?.macs)
    expect(eth0?.addresses).toContainEqual({ address: '10.0.2.15', prefix: 24, family: 'ipv4' })
  })

  it('says nothing while it is paused, and the call says why', async () => {
    await vm.pause()
    const { details } = await vm.info()
    expect(details).toMatchObject({ guest: null, 'guest unknown because': expect.stringContaining('paused') })
    await expect(machines.driver.guestInfo(vm.id)).rejects.toMatchObject({ code: 'INVALID_STATE' })
    await vm.resume()
  })

  it('a start that is aborted while the guest boots is never seen as a failure', { timeout: 120_000 }, async () => {
    // Its guest never comes up, however late this process is: the start can only be aborted.
    const firmware = join(machines.stateDir, 'tiny.rom')
    writeFileSync(firmware, tinyGuest('it lives\n'))
    const booting = await machines.create({
      name: 'aborted',
      rootfs: root,
      memory: '128MiB',
      command: ['true'],
      ports: [{ guest: 80 }],
      driverOptions: { kvm: { extraArguments: ['-bios', firmware] } },
    })
    const folder = machineFolder(machines.stateDir, booting.id)
    const controller = new AbortController()
    const seen = new Set<string>()
    const look = (): string => {
      const { state } = statusOf(folder)
      seen.add(state)
      return state
    }
    let looking = true
    const keepLooking = (): void => {
      look()
      if (looking) setImmediate(keepLooking)
    }
    keepLooking()
    try {
      const starting = booting.start({ signal: controller.signal })
      const refused = expect(starting).rejects.toMatchObject({ code: 'ABORTED' })
      // Its QEMU runs, and the start waits until the port is one of the guest's.
      await untilChange(folder.path, AbortSignal.timeout(60_000), 5, () => (look() === 'running' ? true : undefined))
      controller.abort()
      await refused
      await vi.waitFor(async () => expect(await booting.status()).toEqual({ state: 'created' }), { timeout: 30_000 })
    } finally {
      looking = false
    }
    expect([...seen].sort()).toEqual(['created', 'running', 'starting'])
    await booting.delete()
  })

  it('without an agent is an error at once, and null in the info; a command and a file wait for one', { timeout: 120_000 }, async () => {
    const silent = await machines.create({ name: 'silent', disk: { size: '1MiB' }, memory: '32MiB' })
    await silent.start()
    // Who asked an agent, and waited for it, would come in here.
    const { agent } = machineFolder(machines.stateDir, silent.id)
    renameSync(agent, `${agent}.aside`)
    let asked = 0
    const listening = createServer((socket) => {
      asked += 1
      socket.resume()
    }).listen(agent)
    await once(listening, 'listening')
    await expect(machines.driver.guestInfo(silent.id)).rejects.toMatchObject({
      code: 'GUEST_ERROR',
      hint: expect.stringContaining('qemu-guest-agent'),
    })
    expect((await silent.info()).details?.guest).toBeNull()
    expect(asked, 'nobody was asked, so nobody was waited for').toBe(0)
    await once(listening.close(), 'close')
    renameSync(`${agent}.aside`, agent)
    if (!silent.supports('exec') || !silent.supports('files')) throw new Error('nobody knows whether a disk has an agent')
    // An agent may only be about to start, so that these wait for one.
    const told = { code: 'GUEST_ERROR', vmId: silent.id, hint: expect.stringContaining('console()') }
    await Promise.all([
      expect(silent.exec(['true'])).rejects.toMatchObject(told),
      expect(silent.files.readText('/etc/hostname')).rejects.toMatchObject(told),
    ])
    await silent.delete({ force: true })
  })

  it('boots again when it is reset, in the same run, with its disk and its ports of the host', { timeout: 180_000 }, async () => {
    const before = await vm.info()
    const session = await capable(vm).execStream(['sleep', '1000'])
    const lost = expect(session.wait()).rejects.toMatchObject({ code: 'GUEST_ERROR' })
    await machines.manager.driver('kvm').extras.reset(vm.id)
    await lost
    await vm.waitFor({ until: async () => (await ups()) === 2, timeoutMs: 60_000 })
    expect((await capable(vm).exec(['cat', '/runs'])).stdout, 'the disk is the one from before').toBe('run\nrun\n')
    const after = await vm.info()
    expect([after.state, after.pid, after.startedAt]).toEqual(['running', before.pid, before.startedAt])
    await vm.stop({ graceMs: 60_000 })
    expect((await vm.status()).exit, 'the second boot reports its end').toMatchObject({ reason: 'signalled', signal: 'SIGTERM' })
    await expect(machines.driver.reset(vm.id)).rejects.toMatchObject({ code: 'INVALID_STATE' })
  })

  it('of a system of its own starts again, and is not reset while it is paused', async () => {
    const own = await machines.create({ name: 'own', disk: { size: '1MiB' }, memory: '32MiB' })
    await own.start()
    await machines.driver.reset('own')
    expect((await own.status()).state).toBe('running')
    await own.pause()
    await expect(machines.driver.reset('own')).rejects.toMatchObject({ code: 'INVALID_STATE' })
    await expect(machines.driver.reset('nobody')).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await own.delete({ force: true })
  })
})
