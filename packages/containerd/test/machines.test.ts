/** What only a real daemon shows: bad input, users, caps of logs, runtimes, and what is gone behind the driver's back. */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import type { VMConfig, VMKitError } from '@vmkit/core'
import { describe, expect, it } from 'vitest'
import { cgroupVersion } from '../src/cgroup.js'
import { containerd } from '../src/driver.js'
import type { Containerd } from '../src/grpc/connection.js'
import { connect, ensureTestImage } from './engine.js'
import { codeOf, config, on, setting, uidOf } from './setting.js'

const { socketPath, namespace, stateDir, runs, why, managerOf, left, prepare } = setting('machines')

/** Children before their parents. What the collector of garbage takes meanwhile is gone as well. */
async function removeAllSnapshots(client: Containerd): Promise<void> {
  const parents = new Map<string, string>()
  for await (const { info } of client.snapshots.list({ snapshotter: 'overlayfs' }))
    for (const { name, parent } of info) parents.set(name, parent)
  while (parents.size > 0) {
    const inner = new Set(parents.values())
    for (const key of [...parents.keys()].filter((name) => !inner.has(name))) {
      const outcome = await codeOf(client.snapshots.remove({ snapshotter: 'overlayfs', key }))
      expect(['resolved', 'NOT_FOUND']).toContain(outcome)
      parents.delete(key)
    }
  }
}

describe.skipIf(!runs)(`machines on containerd 1.6${why}`, () => {
  prepare()

  it('bad input is refused by name, and nothing is left', async () => {
    const manager = managerOf()
    const create = (changes: VMConfig) => codeOf(manager.create(config(changes), on).then((vm) => vm.start()))
    expect(await create({ image: 'vmkit-test/no-such:1' })).toBe('IMAGE_NOT_FOUND config.image')
    expect(await create({ user: 'nobody-here' })).toBe('INVALID_CONFIG config.user')
    expect(await create({ devices: [{ type: 'host', path: '/dev/no-such' }] })).toBe('INVALID_CONFIG config.devices.0.path')
    expect(await create({ devices: [{ type: 'cdi', name: 'vendor.com/no=1' }] })).toBe('INVALID_CONFIG config.devices.0.name')
    expect(await create({ devices: [{ type: 'pci', address: '0000:00:00.0' }] })).toBe('UNSUPPORTED config.devices.0')
    expect(await create({ networks: ['missing'] })).toBe('NOT_FOUND config.networks.0')
    expect(await create({ networks: ['host'], ports: [{ guest: 80 }] })).toBe('UNSUPPORTED config.ports')
    expect(await create({ driverOptions: { containerd: { capAdd: ['FLY'] } as never } })).toMatch(
      /^INVALID_CONFIG config\.driverOptions\.containerd/,
    )
    expect(await create({ driverOptions: { containerd: { speed: 9 } as never } })).toMatch(
      /^INVALID_CONFIG config\.driverOptions\.containerd/,
    )
    expect(await left()).toEqual([])
    const missing = await manager.create(config({ command: ['/no/such/program'] }), on)
    expect(await codeOf(missing.start())).toBe('INVALID_CONFIG config.command.0')
    expect((await missing.status()).state).toBe('created')
    await missing.delete()
    expect(await left()).toEqual([])
    const hostile = ['a/b', '../x', '..', '-a', '--address=x', 'a b', '', 'a\nb', 'a\0b', 'a..b', 'a.', 'é', '$(id)', 'a;b', 'a'.repeat(77)]
    for (const bad of hostile) expect(() => containerd({ namespace: bad }), bad).toThrow(/options\.namespace/)
    for (const bad of hostile.filter((name) => name !== 'a.' && name !== 'a..b')) {
      expect(await create({ networks: [bad] }), bad).toMatch(/^INVALID_CONFIG config\.networks/)
      expect(await create({ volumes: [{ name: bad, target: '/v' }] }), bad).toMatch(/^INVALID_CONFIG config\.volumes/)
    }
    expect(await left()).toEqual([])
  })

  it('a runtime that refuses this host, or is not there, says so', async () => {
    const refusal = async (runtime: string): Promise<VMKitError> => {
      const vm = await managerOf({ runtime }).create(config(), on)
      const failure = await vm.start().catch((error: unknown) => error as VMKitError)
      expect((await vm.status()).state).toBe('created')
      await vm.delete()
      return failure as VMKitError
    }
    expect(await refusal('io.containerd.no-such.v2')).toMatchObject({ code: 'INVALID_CONFIG', message: expect.stringContaining('no-such') })
    // Debian's crun works with cgroup v2 alone; a host that has it runs the machine.
    if (cgroupVersion() === 1) {
      expect(await refusal('crun')).toMatchObject({
        code: 'UNSUPPORTED',
        message: expect.stringContaining('cgroups in hybrid mode not supported'),
        hint: expect.stringContaining('runc'),
      })
    }
    expect(await left()).toEqual([])
  })

  it('an image that this program has used before may be gone, in parts, or of another platform', async () => {
    const manager = managerOf()
    const handle = manager.driver('containerd')
    const make = () => codeOf(manager.create(config({ name: 'again' }), on).then((vm) => vm.delete()))
    const own = 'vmkit-test/known:1'
    await ensureTestImage(socketPath, namespace, own)
    const known = (changes: VMConfig = {}) => manager.create(config({ image: own, ...changes }), on)
    await (await known()).delete()
    await (await known()).delete()
    const link = connect(socketPath, namespace)
    const client = await link.get()
    await removeAllSnapshots(client)
    await (await known()).delete()
    expect(await codeOf(known({ driverOptions: { containerd: { platform: 'linux/s390x' } } }))).toBe('IMAGE_NOT_FOUND config.image')
    await handle.images.remove(own)
    expect(await codeOf(known())).toBe('IMAGE_NOT_FOUND config.image')
    expect(await make()).toBe('resolved')
    link.close()
    expect(await left()).toEqual([])
  })

  it('a container that somebody else removes takes along what it had', async () => {
    const manager = managerOf()
    await manager.create(config({ name: 'first' }), on).then((vm) => vm.delete())
    const vm = await manager.create(config({ name: 'taken' }), on)
    const link = connect(socketPath, namespace)
    await (await link.get()).containers.delete({ id: 'taken' })
    link.close()
    expect(await codeOf(vm.status())).toBe('NOT_FOUND')
    await manager.driver('containerd').list()
    expect(await left()).toEqual([])
  })

  it('users of the image, files of the config, and no way out through links', async () => {
    const manager = managerOf()
    const vm = await manager.create(config({ user: 'worker', files: [{ path: '/data/in', content: 'placed' }] }), on)
    expect(await vm.files.readText('/data/in')).toBe('placed')
    await vm.start()
    expect((await vm.exec(['id', '-u'])).stdout).toBe('1000\n')
    expect((await vm.exec(['id', '-u'], { user: '0' })).stdout).toBe('0\n')
    await vm.exec(['sh', '-c', 'ln -s / /data/root; ln -s ../../../../../../etc/hostname /data/up; cat /etc/hostname > /data/own'], {
      user: '0',
    })
    const own = await vm.files.readText('/data/own')
    expect(await vm.files.readText('/data/root/etc/hostname')).toBe(own)
    expect(await vm.files.readText('/data/up')).toBe(own)
    await vm.stop({ graceMs: 0 })
    expect(await vm.files.readText('/data/own')).toBe(own)
    await vm.files.write('/data/root/data/while-stopped', 'written')
    await vm.start()
    expect((await vm.exec(['cat', '/data/while-stopped'])).stdout).toBe('written')
    await vm.delete({ force: true })
    expect(await left()).toEqual([])
  })

  it('logs keep to their cap while an app runs', { timeout: 30_000 }, async () => {
    const vm = await managerOf({ logs: { maxBytes: 2 ** 20 } }).create(
      config({ command: ['sh', '-c', 'yes a-line-of-text | head -c 6000000; sleep 1000'] }),
      on,
    )
    await vm.start()
    const file = join(stateDir, namespace, 'machines', uidOf(vm), 'stdout')
    await expect.poll(() => statSync(file).blocks * 512, { timeout: 15_000 }).toBeLessThan(1.5 * 2 ** 20)
    await expect.poll(() => statSync(file).size, { timeout: 15_000 }).toBe(6_000_000)
    const texts: string[] = []
    for await (const { text } of vm.logs()) texts.push(text)
    expect(texts.length).toBeGreaterThan(10_000)
    expect(texts.slice(0, -1).every((text) => text === 'a-line-of-text')).toBe(true)
    await vm.delete({ force: true })
  })
})
