/** Networks by real plugins: those of vmkit, those that a person has configured, several at once, and configurations that are wrong. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { VMConfig } from '@vmkit/core'
import { afterAll, describe, expect, it } from 'vitest'
import { codeOf, config, on, setting, uidOf } from './setting.js'

const { stateDir, runs, why, managerOf, left, prepare } = setting('networks')

/** Bridges of this file alone; a name of an interface has at most 15 bytes. */
const BRIDGE = `vmo${process.pid}`
const confDir = join(stateDir, 'conf')
const dataDir = join(stateDir, 'ipam')
const conf = (name: string, text: string | object) =>
  writeFileSync(join(confDir, name), typeof text === 'string' ? text : JSON.stringify(text))

const bridge = (name: string, ipam: object) => ({ type: 'bridge', bridge: `${BRIDGE}${name}`, isGateway: true, ipMasq: true, ipam })
const addresses = (subnet: string, more: object = {}) => ({ type: 'host-local', dataDir, ranges: [[{ subnet, ...more }]] })
const listOf = (name: string, ...plugins: object[]) => ({ cniVersion: '0.4.0', name, plugins })

describe.skipIf(!runs)(`networks on containerd 1.6${why}`, () => {
  prepare()
  afterAll(() => {
    // The plugins leave a bridge when its last machine goes.
    for (const name of readdirSync('/sys/class/net').filter((each) => each.startsWith(BRIDGE))) execFileSync('ip', ['link', 'delete', name])
  })
  mkdirSync(confDir)

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
    const other = await manager.create(config({ name: 'other', networks: ['kit-two'] }), on)
    for (const vm of [server, client, other]) await vm.start()
    const [first = '', second = ''] = (await server.info()).addresses ?? []
    expect((await server.info()).addresses).toHaveLength(2)
    const ping = async (vm: typeof client, name: string) => (await vm.exec(['ping', '-c', '1', '-W', '5', name])).stdout
    for (const name of ['db', 'server']) expect(await ping(client, name), name).toContain(`(${first})`)
    // The same name is another address in the other network, where the alias was not given.
    expect(await ping(other, 'server')).toContain(`(${second})`)
    expect((await other.exec(['cat', '/etc/hosts'])).stdout).not.toMatch(/\bdb\b/)
    const { network } = await client.metrics()
    expect(network?.txBytes).toBeGreaterThan(0)
    expect(await codeOf(networks.remove('kit-one'))).toBe('CONFLICT')
    await server.delete({ force: true })
    expect((await client.exec(['cat', '/etc/hosts'])).stdout).not.toMatch(/\bdb\b/)
    for (const vm of [client, other]) await vm.delete({ force: true })
    await networks.remove('kit-one')
    await networks.remove('kit-two')
    expect(await left([server, client, other].map(uidOf))).toEqual([])
  })

  it('that a person has configured are joined, beside one of vmkit, and give everything back', async () => {
    conf(
      '10-own.conflist',
      listOf('own', bridge('a', addresses('10.91.77.0/24')), { type: 'portmap', capabilities: { portMappings: true } }),
    )
    conf('20-single.conf', { cniVersion: '0.4.0', name: 'single', ...bridge('b', addresses('10.91.78.0/24')) })
    const manager = managerOf({ cni: { confDir } })
    const handle = manager.driver('containerd')
    await handle.probe()
    if (!handle.supports('networks')) throw new Error(`networks: ${handle.missing.networks}`)
    await handle.networks.create('beside')
    // Only those that vmkit made are listed, and removed.
    expect((await handle.networks.list()).map(({ name }) => name)).not.toContain('own')
    expect(await codeOf(handle.networks.remove('own'))).toBe('NOT_FOUND')
    const vm = await manager.create(
      config({
        command: ['nc', '-ll', '-p', '80', '-e', '/bin/hello'],
        networks: [{ name: 'own', ip: '10.91.77.9' }, 'single', 'beside'],
        ports: [{ guest: 80 }],
      }),
      on,
    )
    await vm.start()
    const { addresses: found = [] } = await vm.info()
    expect(found[0]).toBe('10.91.77.9')
    expect(found[1]).toMatch(/^10\.91\.78\.\d+$/)
    expect(found[2]).toMatch(/^10\.87\./)
    const inside = (await vm.exec(['ip', '-4', '-o', 'address'])).stdout
    for (const [index, address] of found.entries()) expect(inside).toMatch(new RegExp(`eth${index} +inet ${address}/`))
    await vm.waitFor({ port: 80, timeoutMs: 20_000 })
    expect(readdirSync(join(dataDir, 'own'))).toContain('10.91.77.9')
    await vm.stop({ graceMs: 0 })
    expect(readdirSync(join(dataDir, 'own'))).not.toContain('10.91.77.9')
    expect(readdirSync(join(dataDir, 'single')).filter((name) => /^[\d.]+$/.test(name))).toEqual([])
    await vm.start()
    expect((await vm.info()).addresses?.[0]).toBe('10.91.77.9')
    await vm.delete({ force: true })
    await handle.networks.remove('beside')
    expect(await left([uidOf(vm)])).toEqual([])
  })

  it('whose configuration is wrong are refused by name, before anything is made where that can be seen', async () => {
    conf('bad.conflist', '{ "name": "bad", "plugins": [] }')
    conf('text.conflist', 'name: text')
    conf('path.conflist', listOf('path', { type: '../../bin/sh' }))
    conf('nameless.conf', { type: 'bridge' })
    const manager = managerOf({ cni: { confDir } })
    const create = (changes: VMConfig) => codeOf(manager.create(config(changes), on))
    for (const name of ['bad', 'text', 'path', 'nameless'])
      expect(await create({ networks: [name] }), name).toBe('INVALID_CONFIG config.networks')
    expect(await create({ networks: ['missing'] })).toBe('NOT_FOUND config.networks.0')
    expect(await create({ networks: ['missing', 'missing'] })).toMatch(/^INVALID_CONFIG|^NOT_FOUND/)
    expect(await left()).toEqual([])

    // What only the plugin can tell comes at start, and leaves the machine as it was.
    conf('odd.conflist', listOf('odd', { type: 'no-such-plugin' }))
    conf('ranges.conflist', listOf('ranges', bridge('c', { type: 'host-local', dataDir, ranges: [[{ subnet: 'nonsense' }]] })))
    conf('full.conflist', listOf('full', bridge('d', addresses('10.91.79.0/24', { rangeStart: '10.91.79.9', rangeEnd: '10.91.79.9' }))))
    conf('late.conflist', listOf('late', bridge('e', addresses('10.91.80.0/24')), { type: 'tuning', sysctl: { 'net.no.such': '1' } }))
    const holder = await manager.create(config({ networks: ['full'] }), on)
    await holder.start()
    const uids: string[] = []
    for (const [name, code] of [
      ['odd', 'UNSUPPORTED'],
      ['ranges', 'INVALID_CONFIG config.networks'],
      ['full', 'RESOURCE_EXHAUSTED config.networks'],
      ['late', 'BACKEND_ERROR config.networks'],
    ] as const) {
      // What was done for the first network is taken back.
      const vm = await manager.create(config({ networks: ['own', name] }), on)
      uids.push(uidOf(vm))
      expect(await codeOf(vm.start()), name).toBe(code)
      expect((await vm.status()).state, name).toBe('created')
      await vm.delete()
    }
    await holder.delete({ force: true })
    expect(await left([...uids, uidOf(holder)])).toEqual([])
    for (const name of readdirSync(dataDir))
      expect(
        readdirSync(join(dataDir, name)).filter((file) => /^[\d.]+$/.test(file)),
        name,
      ).toEqual([])
  })
})
