import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { basename, join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { VMConfig } from '@vmkit/core'
import { afterAll, describe, expect, it } from 'vitest'
import { whyNoNetworks } from '../src/net/links.js'
import { tinyGuest } from '../src/qemu/tiny-guest.js'
import { makeRoot } from './guest-root.js'
import { bench, requireQemu } from './support.js'

const hasQemu = await requireQemu()
const why = hasQemu ? whyNoNetworks() : 'no QEMU; scripts/backends up installs it'
if (why !== undefined && process.env.VMKIT_REQUIRE_BACKENDS === '1') throw new Error(`named networks cannot be tested: ${why}`)

const root = makeRoot()
const firmware = join(root, 'tiny.rom')
writeFileSync(firmware, tinyGuest('it lives\n'))
afterAll(() => rmSync(root, { recursive: true }))

const tiny = { disk: { size: '1MiB' }, memory: '32MiB', driverOptions: { kvm: { extraArguments: ['-bios', firmware] } } } as const
const linux = (command: string): VMConfig => ({ rootfs: root, memory: '128MiB', command: ['sh', '-c', command] })
const serve = (port: number, words: string): string => `nc -ll -p ${port} -e echo ${words} & exec sleep 2147483`

type Bench = ReturnType<typeof bench>
type Machine = Awaited<ReturnType<Bench['create']>>

/** With networks, of which nothing is left either. */
async function networked(options: Parameters<typeof bench>[0] = {}) {
  const machines = bench(options)
  const driver = machines.manager.driver('kvm')
  await driver.probe()
  if (!driver.supports('networks') || !driver.supports('bundle')) throw new Error(driver.missing.networks)
  const { networks } = driver
  return {
    ...machines,
    networks,
    target: driver,
    async [Symbol.asyncDispose]() {
      for (const { id } of await machines.manager.driver('kvm').list())
        await (await machines.manager.driver('kvm').get(id)).delete({ force: true })
      for (const { name } of await networks.list()) await networks.remove(name)
      await machines[Symbol.asyncDispose]()
    },
  }
}

async function sh(machine: Machine, script: string): Promise<string> {
  if (!machine.supports('exec')) throw new Error(`exec is missing: ${machine.missing.exec}`)
  const { stdout, stderr } = await machine.exec(['sh', '-c', script])
  return (stdout + stderr).trim()
}

/** Its program listens: a kernel that is up, or an agent, says nothing of that. State 0A of proc(5), /proc/net/tcp. */
async function listening(machine: Machine, port: number): Promise<void> {
  const address = `:${port.toString(16).toUpperCase().padStart(4, '0')} `
  await sh(machine, `until cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep '${address}' | grep -q ' 0A '; do usleep 50000; done`)
}

interface Nic {
  network: string
  address: string
  mac: string
  interface: string
}

async function nics(machine: Machine): Promise<Nic[]> {
  return (await machine.info()).details?.networks as Nic[]
}

const hasLink = (name: string): boolean => existsSync(`/sys/class/net/${name}`)
const masterOf = (name: string): string => basename(readlinkSync(`/sys/class/net/${name}/master`))

function ask(host: string, port: number): Promise<string> {
  return text(connect({ host, port }))
}

describe.skipIf(why !== undefined)(`named networks${why === undefined ? '' : ` (not run: ${why})`}`, () => {
  it('two guests talk by name, beside a published port, until they are gone, and nothing is left', { timeout: 180_000 }, async () => {
    await using place = await networked()
    const { id: bridge } = await place.networks.create('back')
    const db = await place.create({ ...linux(serve(5432, 'from-db')), name: 'db', networks: [{ name: 'back', aliases: ['postgres'] }] })
    const web = await place.create({ ...linux(serve(80, 'from-web')), name: 'web', networks: ['back'], ports: [{ guest: 80 }] })
    expect((await db.info()).addresses, 'it does not run yet').toEqual([])
    // Neither knows yet that there is the other: who is up later tells both.
    await Promise.all([db.start(), web.start()])
    await listening(db, 5432)
    await listening(web, 80)
    const [[dbNic], [webNic]] = (await Promise.all([nics(db), nics(web)])) as [[Nic], [Nic]]
    expect(masterOf(dbNic.interface)).toBe(bridge)

    expect(await sh(web, 'nc db 5432; nc postgres 5432')).toBe('from-db\nfrom-db')
    expect(await sh(db, 'nc web 80')).toBe('from-web')
    expect(await sh(db, 'cat /sys/class/net/*/address')).toContain(dbNic.mac)
    const { host, port } = await web.endpoint(80)
    expect(await ask(host, port)).toBe('from-web\n')
    expect((await db.info()).addresses).toEqual([dbNic.address])
    expect(await ask(dbNic.address, 5432)).toBe('from-db\n')
    const { network } = await db.metrics()
    expect(network?.rxBytes).toBeGreaterThan(0)
    expect(network?.txBytes).toBeGreaterThan(0)
    await expect(place.networks.remove('back')).rejects.toMatchObject({ code: 'CONFLICT' })

    process.kill((await db.info()).pid as number, 'SIGKILL')
    await db.wait()
    // The kernel takes its tap away, with its last thread.
    await expect.poll(() => hasLink(dbNic.interface), { timeout: 60_000 }).toBe(false)
    await expect.poll(() => sh(web, 'grep -c postgres /etc/hosts'), { timeout: 60_000 }).toBe('0')
    expect((await db.status()).state).toBe('failed')
    await db.start()
    await listening(db, 5432)
    expect((await nics(db))[0], 'its addresses are its own until it is deleted').toEqual(dbNic)
    expect(await sh(web, 'nc postgres 5432')).toBe('from-db')

    await web.stop({ graceMs: 0 })
    expect(hasLink(webNic.interface)).toBe(false)
    expect(await sh(db, 'cat /etc/hosts')).not.toContain('web')
    await db.delete({ force: true })
    await web.delete()
    expect(hasLink(dbNic.interface)).toBe(false)
    await place.networks.remove('back')
    expect(hasLink(bridge)).toBe(false)
    expect(rulesOf(bridge)).toEqual([])
  })

  it('a clone from memory is a neighbour of its own, and its origin is restored in place', { timeout: 180_000 }, async () => {
    await using place = await networked()
    await place.networks.create('near')
    const networks = [{ name: 'near', aliases: ['any'], mac: '52:54:00:aa:bb:cc' }]
    const vm = await place.create({
      ...linux(serve(7, 'answer')),
      name: 'origin',
      networks,
      driverOptions: { kvm: { network: { kind: 'none' } } },
    })
    await vm.start()
    await listening(vm, 7)
    if (!vm.supports('snapshot.memory') || !vm.supports('clone')) throw new Error('claimed')
    expect(vm.supports('migrate.live')).toBe(false)
    await vm.snapshot('warm', { memory: true })
    const copy = (await vm.clone('warm', { name: 'copy' })) as Machine
    const [[own], [other]] = (await Promise.all([nics(vm), nics(copy)])) as [[Nic], [Nic]]
    expect([own.address === other.address, own.mac === other.mac, own.interface === other.interface]).toEqual([false, false, false])
    expect(await sh(copy, 'hostname; cat /sys/class/net/eth0/address; nc origin 7')).toBe(`copy\n${other.mac}\nanswer`)
    expect(await sh(vm, `nc copy 7; ip -4 addr show eth0 | grep -c ${own.address}/24`)).toBe('answer\n1')
    await vm.restore('warm')
    expect(await sh(vm, 'nc copy 7')).toBe('answer')
    expect(await ask(own.address, 7)).toBe('answer\n')
  })

  it('hostile and unknown networks, names and addresses are refused, and nothing is made', async () => {
    await using place = await networked()
    await place.networks.create('back')
    const first = await place.create({ ...tiny, name: 'first', networks: [{ name: 'back', mac: '52:54:00:00:00:01' }] })
    const [{ address = '' } = {}] = await nics(first)
    const prefix = address.replace(/\.\d+$/, '')
    const refused = async (networks: NonNullable<VMConfig['networks']>, code: string, field: string): Promise<void> => {
      await expect(place.create({ ...tiny, networks }), JSON.stringify(networks)).rejects.toMatchObject({ code, field })
    }
    await refused(['none-such'], 'NOT_FOUND', 'config.networks.0')
    await refused(['back', 'back'], 'INVALID_CONFIG', 'config.networks.1.name')
    await refused(['host'], 'UNSUPPORTED', 'config.networks.0')
    for (const ip of ['192.0.2.7', `${prefix}.1`, `${prefix}.255`, `${prefix}.0`, '::1'])
      await refused([{ name: 'back', ip }], 'INVALID_CONFIG', 'config.networks.0.ip')
    await refused([{ name: 'back', ip: address }], 'CONFLICT', 'config.networks.0.ip')
    await refused([{ name: 'back', mac: '52:54:00:00:00:01' }], 'CONFLICT', 'config.networks.0.mac')
    await refused([{ name: 'back', mac: '01:00:5e:00:00:01' }], 'INVALID_CONFIG', 'config.networks.0.mac')
    await refused([{ name: 'back', aliases: ['localhost'] }], 'INVALID_CONFIG', 'config.networks.0.aliases.0')
    for (const name of ['../x', 'a b', '-x', '', 'a;reboot', 'x'.repeat(200), 'host'])
      await expect(place.networks.create(name), name).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
    expect((await place.networks.list()).map(({ name }) => name)).toEqual(['back'])
    expect(readdirSync(join(place.stateDir, 'machines'))).toHaveLength(1)
    expect(readdirSync(join(place.stateDir, 'networks', 'back', 'members'))).toEqual([first.id])
    const asked = await place.create({ ...tiny, networks: [{ name: 'back', ip: `${prefix}.77`, mac: '52:54:00:AA:00:01' }] })
    expect(await nics(asked)).toMatchObject([{ address: `${prefix}.77`, mac: '52:54:00:aa:00:01' }])
  })

  it('a start that fails or is aborted, and an app that died in the middle, leave nothing', { timeout: 180_000 }, async () => {
    await using place = await networked()
    const { id: bridge } = await place.networks.create('back')
    const networks = ['back']
    const broken = await place.create({ ...tiny, networks, driverOptions: { kvm: { extraArguments: ['-device', 'no-such-device'] } } })
    await expect(broken.start()).rejects.toMatchObject({ message: expect.stringContaining('no-such-device') })
    const vm = await place.create({ ...tiny, networks })
    for (const ms of [0, 30, 60]) {
      await vm.start({ signal: AbortSignal.timeout(ms) }).catch((error: unknown) => expect(error).toMatchObject({ name: 'VMKitError' }))
      await vm.stop({ graceMs: 0 })
    }
    // An abort is answered before QEMU is gone where that takes long.
    for (const machine of [broken, vm])
      for (const nic of await nics(machine)) await expect.poll(() => hasLink(nic.interface), { timeout: 60_000 }).toBe(false)

    // As after a reboot.
    execFileSync('ip', ['link', 'delete', bridge])
    await vm.start()
    const [{ interface: tap = '' } = {}] = await nics(vm)
    expect(masterOf(tap)).toBe(bridge)
    // An app that was killed between starting QEMU and joining the network: whoever looks next goes on.
    const folder = String((await vm.info()).details?.folder)
    const run = JSON.parse(readFileSync(join(folder, 'run.json'), 'utf8')) as object
    execFileSync('ip', ['link', 'set', 'dev', tap, 'nomaster'])
    writeFileSync(join(folder, 'run.json'), JSON.stringify({ ...run, launcher: { pid: 1, start: 1, boot: 'another' } }))
    rmSync(join(folder, 'joined'))
    expect((await vm.status()).state).toBe('running')
    await expect.poll(() => existsSync(join(folder, 'joined')), { timeout: 60_000 }).toBe(true)
    expect(masterOf(tap)).toBe(bridge)
    await vm.delete({ force: true })
    await broken.delete()
    // An address of a machine that was never finished counts for nothing.
    mkdirSync(join(place.stateDir, 'networks', 'back', 'members'), { recursive: true })
    writeFileSync(join(place.stateDir, 'networks', 'back', 'members', '000000000001'), JSON.stringify({ address: '10.86.1.2', mac: 'x' }))
    await place.networks.remove('back')
    expect(hasLink(bridge)).toBe(false)
  })

  it('a machine that moves, or goes through a bundle, gets addresses of where it comes to; the network must be there', async () => {
    await using place = await networked()
    await using other = await networked()
    await place.networks.create('back')
    const vm = await place.create({ ...tiny, name: 'mover', networks: [{ name: 'back', aliases: ['old'] }] })
    if (!vm.supports('migrate.cold') || !vm.supports('bundle')) throw new Error('claimed')
    const target = other.target
    await expect(vm.migrate(target)).rejects.toMatchObject({ code: 'NOT_FOUND', field: 'config.networks.0' })
    expect(await target.list()).toEqual([])
    await other.networks.create('back')
    const imported = (await target.importBundle(vm.exportBundle(), { name: 'imported' })) as Machine
    const [before] = await nics(vm)
    const moved = (await vm.migrate(target)).vm as Machine
    const after = [(await nics(imported))[0], (await nics(moved))[0]]
    expect(new Set([before, ...after].map((nic) => nic?.address)).size).toBe(3)
    expect(new Set([before, ...after].map((nic) => nic?.mac)).size).toBe(3)
    await moved.start()
    const { id } = (await other.networks.list())[0] ?? { id: '' }
    expect(masterOf(after[1]?.interface ?? '')).toBe(id)
    await place.networks.remove('back')
  })

  it('two apps of one folder share networks, those of two folders have their own addresses', async () => {
    await using one = await networked()
    await using same = await networked({ stateDir: one.stateDir })
    await using other = await networked()
    await one.networks.create('shared')
    expect((await same.networks.list()).map(({ name }) => name)).toEqual(['shared'])
    await expect(same.networks.create('shared')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    const made = await Promise.all([one, same, one, same].map((app) => app.create({ ...tiny, networks: ['shared'] })))
    const addresses = (await Promise.all(made.map(nics))).map(([nic]) => nic?.address)
    expect(new Set(addresses).size).toBe(4)
    await expect(same.networks.remove('shared')).rejects.toMatchObject({ code: 'CONFLICT' })
    await other.networks.create('shared')
    const [foreign] = await nics(await other.create({ ...tiny, networks: ['shared'] }))
    expect(foreign?.address.replace(/\.\d+$/, '')).not.toBe(addresses[0]?.replace(/\.\d+$/, ''))
  })
})

/** Rules of the host's firewall that name this interface. */
function rulesOf(bridge: string): string[] {
  try {
    return execFileSync('iptables', ['-w', '5', '-S', 'FORWARD'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
      .split('\n')
      .filter((line) => line.includes(bridge))
  } catch {
    return [] // a host without it
  }
}
