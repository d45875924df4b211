/** What only a real daemon shows: bad input, users, names in networks, caps, runtimes, many at a time, a daemon that goes away. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createManager, type VMConfig, VMKitError } from '@vmkit/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cgroupVersion } from '../src/cgroup.js'
import { type ContainerdOptions, containerd } from '../src/driver.js'
import type { Containerd } from '../src/grpc/client.js'
import { ownDaemon } from './daemon.js'
import { connect, ensureTestImage, IMAGE, requireEngine, sockets, why } from './engine.js'

const socketPath = sockets['1.6']
const namespace = `vmkit-machines-${process.pid}`
const stateDir = mkdtempSync(join(tmpdir(), 'vmkit-containerd-test-'))
const managers: { close(): Promise<void> }[] = []

function managerOf(options: Partial<ContainerdOptions> = {}) {
  const manager = createManager({
    drivers: { containerd: containerd({ socketPath: socketPath as string, namespace, stateDir, ...options }) },
  })
  managers.push(manager)
  return manager
}

const config = (changes: VMConfig = {}): VMConfig => ({ image: IMAGE, pull: 'never', command: ['sleep', '1000'], ...changes })
const on = { driver: 'containerd' } as const

/** Everything that a machine may leave. */
async function traces(): Promise<string[]> {
  const link = connect(socketPath as string, namespace)
  try {
    const client = await link.get()
    const lines: string[] = []
    for await (const { info } of client.snapshots.list({ snapshotter: 'overlayfs' }))
      lines.push(...info.filter(({ kind }) => kind !== 3).map(({ name }) => name))
    lines.push(...(await client.leases.list({})).leases.map(({ id }) => id))
    lines.push(...(await client.containers.list({})).containers.map(({ id }) => id))
    lines.push(
      ...readFileSync('/proc/self/mountinfo', 'utf8')
        .split('\n')
        .filter((line) => line.includes(stateDir)),
    )
    for (const folder of ['machines', 'netns']) lines.push(...files(join(stateDir, namespace, folder)))
    for (const folder of ['ports', 'members']) lines.push(...files(join(stateDir, folder)))
    return lines
  } finally {
    link.close()
  }
}

function files(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'resolved',
    (error: unknown) => (error instanceof VMKitError ? `${error.code} ${error.field ?? ''}`.trim() : String(error)),
  )

const runs = requireEngine(socketPath)
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

describe.skipIf(!runs)(`machines on containerd 1.6${why(socketPath)}`, () => {
  beforeAll(async () => ensureTestImage(socketPath as string, namespace))
  afterAll(async () => {
    for (const manager of managers) await manager.close()
    const link = connect(socketPath as string, namespace)
    const client = await link.get()
    for (const { name } of (await client.images.list({})).images) await client.images.delete({ name, sync: true })
    await client.namespaces.delete({ name: namespace })
    link.close()
    rmSync(stateDir, { recursive: true, force: true })
  })

  it('bad input is refused by name, and nothing is left', async () => {
    const confDir = mkdtempSync(join(stateDir, 'conf-'))
    writeFileSync(join(confDir, 'bad.conflist'), '{ "name": "bad", "plugins": [] }')
    writeFileSync(join(confDir, 'odd.conflist'), '{ "name": "odd", "cniVersion": "0.4.0", "plugins": [{ "type": "no-such-plugin" }] }')
    const manager = managerOf({ cni: { confDir } })
    const create = (changes: VMConfig) => codeOf(manager.create(config(changes), on).then((vm) => vm.start()))
    expect(await create({ image: 'vmkit-test/no-such:1' })).toBe('IMAGE_NOT_FOUND')
    expect(await create({ user: 'nobody-here' })).toBe('INVALID_CONFIG config.user')
    expect(await create({ devices: [{ type: 'host', path: '/dev/no-such' }] })).toBe('INVALID_CONFIG config.devices.0.path')
    expect(await create({ devices: [{ type: 'cdi', name: 'vendor.com/no=1' }] })).toBe('INVALID_CONFIG config.devices.0.name')
    expect(await create({ devices: [{ type: 'pci', address: '0000:00:00.0' }] })).toBe('UNSUPPORTED config.devices.0')
    expect(await create({ networks: ['bad'] })).toBe('INVALID_CONFIG config.networks')
    expect(await create({ networks: ['missing'] })).toBe('NOT_FOUND config.networks.0')
    expect(await create({ networks: ['host'], ports: [{ guest: 80 }] })).toBe('UNSUPPORTED config.ports')
    expect(await create({ driverOptions: { containerd: { capAdd: ['FLY'] } as never } })).toMatch(
      /^INVALID_CONFIG config\.driverOptions\.containerd/,
    )
    expect(await create({ driverOptions: { containerd: { speed: 9 } as never } })).toMatch(
      /^INVALID_CONFIG config\.driverOptions\.containerd/,
    )
    expect(await traces()).toEqual([])
    const vm = await manager.create(config({ networks: ['odd'] }), on)
    expect(await codeOf(vm.start())).toBe('UNSUPPORTED')
    expect((await vm.status()).state).toBe('created')
    await vm.delete()
    const missing = await manager.create(config({ command: ['/no/such/program'] }), on)
    expect(await codeOf(missing.start())).toBe('INVALID_CONFIG')
    expect((await missing.status()).state).toBe('created')
    await missing.delete()
    expect(await traces()).toEqual([])
    for (const bad of ['a/b', '../x', '-a', 'a b', '']) expect(() => containerd({ namespace: bad }), bad).toThrow(/options\.namespace/)
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
    expect(await traces()).toEqual([])
  })

  it('an image that this program has used before may be gone, in parts, or of another platform', async () => {
    const manager = managerOf()
    const handle = manager.driver('containerd')
    const make = () => codeOf(manager.create(config({ name: 'again' }), on).then((vm) => vm.delete()))
    const own = 'vmkit-test/known:1'
    await ensureTestImage(socketPath as string, namespace, own)
    const known = (changes: VMConfig = {}) => manager.create(config({ image: own, ...changes }), on)
    await (await known()).delete()
    await (await known()).delete()
    const link = connect(socketPath as string, namespace)
    const client = await link.get()
    await removeAllSnapshots(client)
    await (await known()).delete()
    expect(await codeOf(known({ driverOptions: { containerd: { platform: 'linux/s390x' } } }))).toBe('IMAGE_NOT_FOUND')
    await handle.images.remove(own)
    expect(await codeOf(known())).toBe('IMAGE_NOT_FOUND')
    expect(await make()).toBe('resolved')
    link.close()
    expect(await traces()).toEqual([])
  })

  it('a container that somebody else removes takes along what it had', async () => {
    const manager = managerOf()
    await manager.create(config({ name: 'first' }), on).then((vm) => vm.delete())
    const vm = await manager.create(config({ name: 'taken' }), on)
    const link = connect(socketPath as string, namespace)
    await (await link.get()).containers.delete({ id: 'taken' })
    link.close()
    expect(await codeOf(vm.status())).toBe('NOT_FOUND')
    await manager.driver('containerd').list()
    expect(await traces()).toEqual([])
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
    expect(await traces()).toEqual([])
  })

  it('machines of a network know each other by name and alias, in several networks', async () => {
    const manager = managerOf()
    const handle = manager.driver('containerd')
    await handle.probe()
    if (!handle.supports('networks')) throw new Error(`networks: ${handle.missing.networks}`)
    const { networks } = handle
    await networks.create('kit-one')
    await networks.create('kit-two')
    const server = await manager.create(config({ name: 'server', networks: [{ name: 'kit-one', aliases: ['db'] }, 'kit-two'] }), on)
    const client = await manager.create(config({ name: 'client', networks: ['kit-one'] }), on)
    await server.start()
    await client.start()
    expect((await server.info()).addresses).toHaveLength(2)
    for (const name of ['db', 'server']) expect((await client.exec(['ping', '-c', '1', '-W', '5', name])).exitCode, name).toBe(0)
    const { network } = await client.metrics()
    expect(network?.txBytes).toBeGreaterThan(0)
    expect(await codeOf(networks.remove('kit-one'))).toBe('CONFLICT')
    await server.delete({ force: true })
    expect((await client.exec(['cat', '/etc/hosts'])).stdout).not.toMatch(/\bdb\b/)
    await client.delete({ force: true })
    await networks.remove('kit-one')
    await networks.remove('kit-two')
    expect(await traces()).toEqual([])
  })

  it('logs keep to their cap while an app runs', { timeout: 30_000 }, async () => {
    const vm = await managerOf({ logs: { maxBytes: 2 ** 20 } }).create(
      config({ command: ['sh', '-c', 'yes a-line-of-text | head -c 6000000; sleep 1000'] }),
      on,
    )
    await vm.start()
    const uid = vm.id.split(':')[1] as string
    const file = join(stateDir, namespace, 'machines', uid, 'stdout')
    await expect.poll(() => statSync(file).blocks * 512, { timeout: 15_000 }).toBeLessThan(1.5 * 2 ** 20)
    await expect.poll(() => statSync(file).size, { timeout: 15_000 }).toBe(6_000_000)
    const texts: string[] = []
    for await (const { text } of vm.logs()) texts.push(text)
    expect(texts.length).toBeGreaterThan(10_000)
    expect(texts.slice(0, -1).every((text) => text === 'a-line-of-text')).toBe(true)
    await vm.delete({ force: true })
  })

  it('two hundred, sixteen at a time, leave nothing', { timeout: 240_000 }, async () => {
    const manager = managerOf()
    const queue = Array.from({ length: 200 }, (_, index) => index)
    const codes: (number | null)[] = []
    const worker = async (): Promise<void> => {
      for (let index = queue.pop(); index !== undefined; index = queue.pop()) {
        await using vm = await manager.create(config({ name: `many-${index}`, command: ['sh', '-c', 'echo out; exit 7'] }), on)
        await vm.start()
        codes.push((await vm.wait()).code)
      }
    }
    await Promise.all(Array.from({ length: 16 }, worker))
    expect(codes).toEqual(Array.from({ length: 200 }, () => 7))
    expect(await traces()).toEqual([])
  })
})

describe.skipIf(!runs)(`a containerd that goes away${why(socketPath)}`, () => {
  it('tasks live on; what was open fails with a type; the same driver goes on', { timeout: 60_000 }, async () => {
    await using daemon = await ownDaemon(socketPath as string)
    await ensureTestImage(daemon.socketPath, 'own')
    await using manager = createManager({
      drivers: { containerd: containerd({ socketPath: daemon.socketPath, namespace: 'own', stateDir: join(daemon.folder, 'vmkit') }) },
    })
    const vm = await manager.create(config({ command: ['sh', '-c', 'i=0; while :; do i=$((i+1)); echo "tick $i"; sleep 0.05; done'] }), on)
    await vm.start()
    const { pid } = await vm.info()
    let cursor = ''
    const logs = (async () => {
      for await (const entry of vm.logs({ follow: true })) cursor = entry.cursor
    })()
    const exec = vm.exec(['sleep', '1000'])
    const waiting = vm.wait()
    await expect.poll(() => cursor).not.toBe('')
    const creating = manager.create(config({ name: 'cut' }), on)
    const outcomes = Promise.all([logs, exec, waiting, creating].map((each) => codeOf(each)))
    await daemon.stop()
    const [logCode, execCode, waitCode, createCode] = await outcomes
    expect([logCode, execCode, waitCode]).toEqual(['BACKEND_UNAVAILABLE', 'BACKEND_UNAVAILABLE', 'BACKEND_UNAVAILABLE'])
    expect(createCode).toMatch(/^(resolved|BACKEND_UNAVAILABLE)/)
    expect(await codeOf(vm.status())).toBe('BACKEND_UNAVAILABLE')
    await daemon.start()
    expect((await vm.info()).pid).toBe(pid)
    const next: string[] = []
    for await (const { text } of vm.logs({ follow: true, after: cursor })) {
      next.push(text)
      if (next.length === 3) break
    }
    expect(next[0]).toMatch(/^tick \d+$/)
    expect((await vm.exec(['echo', 'back'])).stdout).toBe('back\n')
    for (const each of await manager.driver('containerd').list()) await (await manager.get('containerd', each.id)).delete({ force: true })
    expect(await manager.driver('containerd').list()).toEqual([])
  })
})
