/** What only a real daemon shows: bad input, users, caps of logs, runtimes, and what is gone behind the driver's back. */
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseConfig, type VMConfig, type VMKitError } from '@vmkit/core'
import { describe, expect, it } from 'vitest'
import { cgroupVersion } from '../src/cgroup.js'
import { containerd } from '../src/driver.js'
import { unmountFolder } from '../src/files/mount.js'
import type { Containerd } from '../src/grpc/connection.js'
import { extensionsOf, LABEL } from '../src/record.js'
import { runChecked } from '../src/tool.js'
import { connect, ensureTestImage, IMAGE } from './engine.js'
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
    await expect.poll(() => statSync(file).size, { timeout: 15_000 }).toBe(6_000_000)
    await expect.poll(() => statSync(file).blocks * 512, { timeout: 15_000 }).toBeLessThan(1.5 * 2 ** 20)
    const texts: string[] = []
    for await (const { text } of vm.logs()) texts.push(text)
    expect(texts.length).toBeGreaterThan(10_000)
    expect(texts.slice(0, -1).every((text) => text === 'a-line-of-text')).toBe(true)
    await vm.delete({ force: true })
  })

  it('more of them than one message holds are listed, swept around, and keep their image', async () => {
    const handle = managerOf().driver('containerd')
    await handle.list()
    const link = connect(socketPath, namespace)
    const { containers } = await link.get()
    // Seventeen records of a megabyte: containerd sends 16 MiB at most.
    const names = Array.from({ length: 17 }, (_, index) => `large-${index}`)
    try {
      for (const [index, name] of names.entries()) {
        const uid = index.toString(16).padStart(16, '0')
        const machine = parseConfig({ name, env: { LARGE: 'x'.repeat(2 ** 20) } })
        const record = { uid, config: machine, createdAt: 1, root: join(stateDir, namespace), cgroupsPath: '/none', workdir: '/' }
        const labels = { [LABEL.mark]: 'containerd', [LABEL.uid]: uid }
        const spec = { typeUrl: 'types.containerd.io/opencontainers/runtime-spec/1/Spec', value: Buffer.from('{}') }
        const parts = { image: `docker.io/${IMAGE}`, runtime: { name: 'io.containerd.runc.v2' }, spec, extensions: extensionsOf(record) }
        await containers.create({ container: { id: name, labels, ...parts } })
      }
      expect(await codeOf(containers.list({}))).toBe('RESOURCE_EXHAUSTED')
      const orphan = join(stateDir, namespace, 'machines', 'f'.repeat(16))
      mkdirSync(orphan, { recursive: true })
      writeFileSync(join(orphan, 'daemon'), socketPath)
      expect((await handle.list()).map(({ name }) => name).sort()).toEqual([...names].sort())
      expect(existsSync(orphan)).toBe(false)
      expect(await codeOf(handle.images.remove(IMAGE))).toBe('CONFLICT')
    } finally {
      for (const id of names) await containers.delete({ id }).catch(() => undefined)
      link.close()
    }
    expect(await left()).toEqual([])
  })

  it('last words that are written late are among the logs of a machine that has ended', async () => {
    const vm = await managerOf({ logs: { mode: 'timestamps' } }).create(
      config({ command: ['sh', '-c', 'while [ ! -e /data/go ]; do sleep 0.02; done; echo last words'] }),
      on,
    )
    await vm.start()
    const file = join(stateDir, namespace, 'machines', uidOf(vm), 'log')
    const logger = Number(readdirSync('/proc').find((pid) => /^\d+$/.test(pid) && commandOf(pid).includes(`\0${file}\0`)))
    process.kill(logger, 'SIGSTOP')
    await vm.exec(['touch', '/data/go'])
    expect((await vm.wait()).code).toBe(0)
    const texts: string[] = []
    const reading = (async () => {
      for await (const { text } of vm.logs()) texts.push(text)
    })()
    // It is asked meanwhile, and has nothing to show: whoever reads tells the logger that it is over.
    while (!isTold(logger, constants.signals.SIGTERM)) await delay(5)
    process.kill(logger, 'SIGCONT')
    await reading
    expect(texts).toEqual(['last words'])
    await vm.delete()
    expect(await left([uidOf(vm)])).toEqual([])
  })

  it('a reader that rests loses nothing of a command that has ended', async () => {
    const vm = await managerOf().create(config(), on)
    await vm.start()
    // More pieces than are held for the reader: each is read when it comes.
    const script = 'i=0; while [ $i -lt 60 ]; do echo piece $i; i=$((i+1)); sleep 0.005; done'
    await using session = await vm.execStream(['sh', '-c', script])
    const iterator = session.output[Symbol.asyncIterator]()
    const first = await iterator.next()
    // It is over, although nobody has read it: the rest is still there.
    expect((await session.wait()).exitCode).toBe(0)
    await delay(500)
    let text = Buffer.from(first.value?.data ?? []).toString()
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) text += Buffer.from(next.value.data).toString()
    expect(text.trim().split('\n')).toEqual(Array.from({ length: 60 }, (_, index) => `piece ${index}`))
    await vm.delete({ force: true })
  })

  it('a mount that several find at once is taken away once', async () => {
    const rootfs = join(stateDir, 'left-by-another')
    mkdirSync(rootfs)
    await runChecked('mount', ['-t', 'tmpfs', 'none', rootfs])
    await Promise.all(Array.from({ length: 8 }, () => unmountFolder({ rootfs })))
    expect(existsSync(rootfs)).toBe(false)
  })
})

/** Whether the signal waits for a process that is stopped (proc(5), status: the signals of the whole process). */
function isTold(pid: number, signal: number): boolean {
  const [, pending = '0'] = /^ShdPnd:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1')) ?? []
  return (BigInt(`0x${pending}`) & (1n << BigInt(signal - 1))) !== 0n
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}
