import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { tinyGuest } from '../src/qemu/tiny-guest.js'
import { makeRoot } from './guest-root.js'
import { bench, requireQemu } from './support.js'
import { vncLogin } from './vnc-login.js'

const hasQemu = await requireQemu()
const why = hasQemu ? '' : ' (not run: no QEMU; scripts/backends up installs it)'
const root = makeRoot()
const folder = mkdtempSync(join(tmpdir(), `vmkit-kvm-odd, name 'of "a" folder-`))
const firmware = join(folder, 'tiny.rom')
const data = join(folder, 'data, "disk".img')
writeFileSync(firmware, tinyGuest('it lives\n'))
writeFileSync(data, Buffer.concat([Buffer.from('on the disk\n'), Buffer.alloc(2 ** 20 - 12)]))
afterAll(() => {
  for (const path of [root, folder]) rmSync(path, { recursive: true })
})

const idle = { rootfs: root, memory: '128MiB', command: ['/bin/sh', '-c', 'echo up; sleep 1000'] }
const tiny = (rest: object = {}) => ({
  disk: { size: '1MiB' },
  memory: '32MiB',
  driverOptions: { kvm: { extraArguments: ['-bios', firmware], ...rest } },
})

describe.skipIf(!hasQemu)(`the hardware of a machine${why}`, () => {
  it('a disk comes and goes while it runs, whatever its path', { timeout: 120_000 }, async () => {
    await using machines = bench()
    const vm = await machines.create(idle)
    await vm.start()
    await vm.waitFor({ log: 'up', timeoutMs: 60_000 })
    if (!vm.supports('exec') || !vm.supports('devices')) throw new Error('the machine has no exec, or no devices')
    const id = await vm.attachDevice({ type: 'disk', path: data, readOnly: true, id: 'extra' })
    const { stdout } = await vm.exec(['/bin/sh', '-c', 'until [ -b /dev/vdb ]; do sleep 0.1; done; head -n 1 /dev/vdb'], {
      timeoutMs: 30_000,
    })
    expect(stdout).toBe('on the disk\n')
    await vm.detachDevice(id)
    const gone = await vm.exec(['/bin/sh', '-c', '[ -b /dev/vdb ]'])
    expect(gone.exitCode).not.toBe(0)
    expect((await vm.info()).config.devices).toEqual([])
    const nic = await vm.attachDevice({ type: 'nic' })
    await vm.exec(['/bin/sh', '-c', 'until [ -e /sys/class/net/eth1 ]; do sleep 0.1; done'], { timeoutMs: 30_000 })
    await vm.detachDevice(nic)
  })

  it('a vCPU is plugged in, and memory given back, while it runs', { timeout: 120_000 }, async () => {
    await using machines = bench()
    const vm = await machines.create({ ...idle, driverOptions: { kvm: { maxCpus: 2 } } })
    await vm.start()
    await vm.waitFor({ log: 'up', timeoutMs: 60_000 })
    if (!vm.supports('exec') || !vm.supports('resize')) throw new Error('the machine has no exec, or no resize')
    await vm.resize({ cpus: 2, memory: 100 * 2 ** 20 })
    const { stdout } = await vm.exec(['/bin/sh', '-c', 'until [ -d /sys/devices/system/cpu/cpu1 ]; do sleep 0.1; done; echo there'], {
      timeoutMs: 30_000,
    })
    expect(stdout).toBe('there\n')
    await expect.poll(async () => (await vm.metrics()).memory.limitBytes, { timeout: 30_000 }).toBe(100 * 2 ** 20)
    await expect.poll(async () => (await vm.metrics()).details?.guestUsedBytes, { timeout: 30_000 }).toBeGreaterThan(0)
    const { cpu, details = {} } = await vm.metrics()
    expect(details.guestUsedBytes).toBe((details.guestTotalBytes as number) - (details.guestAvailableBytes as number))
    expect(details.guestFreeBytes).toBeGreaterThan(0)
    expect(details.vcpuMs).toBeGreaterThan(0)
    expect(details.vcpuMs).toBeLessThanOrEqual(cpu.usageMs as number)
    expect((await vm.info()).config).toMatchObject({ cpus: 2, memory: 100 * 2 ** 20 })
    await expect(vm.resize({ memory: '1GiB' })).rejects.toMatchObject({ code: 'UNSUPPORTED', field: 'memory' })
    await expect(vm.resize({ cpus: 3 })).rejects.toMatchObject({ code: 'UNSUPPORTED', field: 'cpus' })
  })

  it('a screen is reached over VNC with its password, and photographed', async () => {
    await using machines = bench()
    const vm = await machines.create(tiny({ screen: { password: true } }))
    await vm.start()
    if (!vm.supports('vnc')) throw new Error(vm.missing.vnc)
    const { socketPath, password } = await vm.vnc()
    expect(socketPath).toMatch(/vnc\.sock$/)
    expect(password).toHaveLength(8)
    const login = (secret = '') => vncLogin(socketPath as string, secret)
    expect(await login(password)).toEqual({ offered: [2], isIn: true }) // RFC 6143, 7.1.2: VNC authentication, and no other
    expect(await login('wrong')).toEqual({ offered: [2], isIn: false })
    const picture = Buffer.from(await vm.screenshot())
    expect(picture.subarray(1, 4).toString()).toBe('PNG')
    expect(picture.readUInt32BE(16)).toBeGreaterThan(300) // IHDR: the width
  })

  it('its sockets, logs and disk are for their owner alone, whoever is let into its folder', async () => {
    await using machines = bench()
    const vm = await machines.create({ ...idle, driverOptions: { kvm: { screen: true } } })
    await vm.start()
    const home = join(machines.stateDir, 'machines', vm.id)
    const shared = readdirSync(home).filter((name) => (statSync(join(home, name)).mode & 0o077) !== 0)
    // Links to what the cache has for all machines.
    expect(shared.filter((name) => name !== 'kernel' && name !== 'base.qcow2')).toEqual([])
    expect(readdirSync(home)).toEqual(
      expect.arrayContaining(['qmp.sock', 'vnc.sock', 'console.sock', 'exec0.sock', 'console.log', 'stdout.log']),
    )
  })

  it('without a screen it says how to get one', async () => {
    await using machines = bench()
    const vm = await machines.create(tiny())
    expect(vm.supports('vnc')).toBe(false)
    expect(vm.missing.vnc).toContain('driverOptions.kvm.screen')
  })

  for (const machine of ['q35', 'pc', 'microvm'] as const) {
    it(`a ${machine} takes extra disks and NICs from the start, and is paused and resumed`, { timeout: 120_000 }, async () => {
      await using machines = bench()
      const vm = await machines.create({
        ...tiny({ machine }),
        devices: [
          { type: 'disk', path: data, readOnly: true, id: `a disk's very, very long "name"`.replace(/[^a-z]/g, '-') },
          { type: 'nic' },
        ],
        cpus: 2,
      })
      await vm.start()
      await vm.waitFor({ log: 'it lives', timeoutMs: 60_000 })
      await vm.pause()
      await vm.resume()
      expect((await vm.info()).config.devices).toHaveLength(2)
    })
  }

  it('what a host cannot give is refused with its reason, before anything is made', async () => {
    await using machines = bench()
    const refused = async (config: object, expected: object) => {
      await expect(machines.create({ ...tiny(), ...config })).rejects.toMatchObject(expected)
      expect(await machines.manager.driver('kvm').list()).toEqual([])
    }
    await refused({ devices: [{ type: 'pci', address: 'ffff:ff:1f.7' }] }, { code: 'UNSUPPORTED', field: 'config.devices.0.address' })
    await refused({ devices: [{ type: 'pci', address: 'nonsense' }] }, { code: 'INVALID_CONFIG' })
    await refused({ devices: [{ type: 'gpu' }] }, { code: 'UNSUPPORTED', field: 'config.devices.0.type' })
    await refused(
      { devices: [{ type: 'disk', path: join(folder, 'no-such.img') }] },
      { code: 'IMAGE_NOT_FOUND', field: 'config.devices.0.path' },
    )
    await refused({ restart: 'always' }, { code: 'UNSUPPORTED', field: 'config.restart', message: expect.stringContaining('no daemon') })
    await refused({ memory: 1024 }, { code: 'INVALID_CONFIG', field: 'config.memory' })
    await refused({ driverOptions: { kvm: { extraArguments: ['-qmp', 'stdio'] } } }, { code: 'INVALID_CONFIG' })
    await refused({ driverOptions: { kvm: { extraArguments: ['-device', '-daemonize'] } } }, { code: 'INVALID_CONFIG' })
    await refused({ driverOptions: { kvm: { cpu: 'host,file=/etc/passwd,' } } }, { code: 'INVALID_CONFIG' })
    await refused({ driverOptions: { kvm: { machine: 'microvm', uefi: true } } }, { code: 'UNSUPPORTED' })
  })

  it('what QEMU refuses is told in its words, and the machine stays as it was', async () => {
    await using machines = bench()
    const vm = await machines.create(tiny({ extraArguments: ['-device', 'no-such-device'] }))
    await expect(vm.start()).rejects.toMatchObject({ message: expect.stringContaining('no-such-device') })
    expect(await vm.status()).toEqual({ state: 'created' })
    const huge = await machines.create(tiny({ hugepages: true }))
    await huge.start().catch((error: unknown) => expect(error).toMatchObject({ code: 'RESOURCE_EXHAUSTED' }))
  })
})
