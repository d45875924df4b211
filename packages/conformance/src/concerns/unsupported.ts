import assert from 'node:assert/strict'
import { all, rejects } from '../assertions.js'
import type { FullVM, Test, Tools } from '../tools.js'
import { type Capability, type ConfigField, capabilityOfField, type VMConfig } from './config-fields.js'

/** Guarantee 9, and the twin of every gated test: what is not there is refused with the reason, before anything happens. */
export function unsupported(test: Test): void {
  test('every capability that is missing is refused, with its reason', {}, async (t) => {
    const { missing } = t.driver
    const vm = await t.start({ does: 'idle' })
    for (const [capability, call] of Object.entries(calls(t, vm)) as [Capability, () => Promise<unknown>][]) {
      const reason = missing[capability]
      if (reason === undefined) continue
      assert.match(reason, /\S{2,}/, `${capability}: the reason is empty`)
      assert.equal(t.driver.supports(capability), false, `${capability}: the handle of the driver says that it is there`)
      assert.equal(vm.supports(capability), false, `${capability}: the machine says that it is there`)
      const error = await rejects(call(), 'UNSUPPORTED', capability)
      const names = [capability, ...(SNAPSHOTS.includes(capability) ? SNAPSHOTS : [])]
      assert.ok(names.includes(error.capability as Capability), `${capability}: the error names ${error.capability}`)
      assert.ok(error.message.length > 10 && error.driver !== undefined, `${capability}: ${error.message}`)
      assert.equal((await vm.status()).state, 'running', `${capability}: the refusal changed the machine`)
    }
    assert.equal((await t.mine()).length, 1, 'a refusal made a machine')
  })

  test('capabilities that are claimed for every host are there', {}, async (t) => {
    const vm = await t.create({ does: 'idle' })
    for (const [capability, claim] of Object.entries(t.facts.capabilities) as [Capability, true | 'probe'][]) {
      if (claim !== true) continue
      assert.equal(t.driver.supports(capability), true, capability)
      assert.equal(vm.supports(capability), true, `${capability}: claimed as certain, so every machine must have it`)
    }
  })

  test('every config field that is not honoured is refused by its name, and nothing is made', {}, async (t) => {
    const refused: string[] = []
    for (const [field, value] of Object.entries(SAMPLES) as [ConfigField, unknown][]) {
      if (t.facts.fields.includes(field)) continue
      const capability = capabilityOfField(field)
      if (capability !== undefined && t.driver.missing[capability] === undefined) continue
      const { image: _i, rootfs: _r, disk: _d, kernel: _k, ...rest } = t.config({ does: 'idle' })
      const error = await rejects(t.driver.create({ ...rest, [field]: value }, { onDispose: 'detach' }), 'UNSUPPORTED', field)
      assert.equal(error.field, `config.${field}`)
      refused.push(field)
    }
    assert.deepEqual(await t.mine(), [], `refused: ${refused.join(', ')}`)
  })

  test('a field that asks for nothing is not refused', {}, async (t) => {
    await t.create({ does: 'idle' }, { tty: false, stdin: false, ports: [], mounts: [], volumes: [], networks: [], devices: [], files: [] })
  })

  test('the env that is honoured has an effect', { needs: ['logs'] }, async (t) => {
    if (!t.facts.fields.includes('env')) t.skip('the driver does not honour `env` (its refusal is tested)')
    const value = 'it\'s "$HOME"; `x`, ü=✓ \\n %s'
    const vm = await t.start({ does: 'env', name: 'KIT_VALUE' }, { env: { KIT_VALUE: value } })
    await t.within(20_000, 'the end', vm.wait())
    const texts = (await all(vm.logs())).map(({ text }) => text)
    assert.ok(texts.includes(value), `expected ${value} in ${JSON.stringify(texts.slice(-5))}`)
  })

  test('the workdir that is honoured has an effect', { needs: ['logs'] }, async (t) => {
    if (!t.facts.fields.includes('workdir')) t.skip('the driver does not honour `workdir` (its refusal is tested)')
    const vm = await t.start({ does: 'pwd' }, { workdir: '/tmp' })
    await t.within(20_000, 'the end', vm.wait())
    const texts = (await all(vm.logs())).map(({ text }) => text)
    assert.ok(texts.includes('/tmp'), `expected /tmp in ${JSON.stringify(texts.slice(-5))}`)
  })
}

const SNAPSHOTS: readonly Capability[] = ['snapshot.disk', 'snapshot.memory']

/** One call for each capability that has one of its own. */
function calls(t: Tools, vm: FullVM): Partial<Record<Capability, () => Promise<unknown>>> {
  const { driver } = t
  const nothing = ['true']
  return {
    pause: () => vm.pause(),
    exec: () => vm.exec(nothing),
    'exec.stream': () => vm.execStream(nothing),
    logs: async () => all(vm.logs()),
    attach: () => vm.attach(),
    files: async () => vm.files.read('x'),
    'files.archive': async () => all(vm.copyOut('x')),
    console: () => vm.console(),
    vnc: () => vm.vnc(),
    resize: () => vm.resize({ cpus: 1 }),
    rename: () => vm.rename(t.name()),
    devices: () => vm.attachDevice({ type: 'cdi', name: 'vendor.com/gpu=0' }),
    'snapshot.disk': () => vm.snapshot('tag'),
    'snapshot.memory': () => vm.snapshot('tag', { memory: true }),
    clone: () => vm.clone('tag'),
    'migrate.cold': () => vm.migrate(t.second().driver),
    'migrate.live': () => vm.migrate(t.second().driver, { live: true }),
    images: () => driver.images.list(),
    'images.export': async () => all(driver.images.export('kit')),
    build: () => driver.build({ context: '/', tag: 'kit' }),
    volumes: () => driver.volumes.list(),
    networks: () => driver.networks.list(),
    bundle: async () => all(vm.exportBundle()),
    // These refine another one: without that, the other's error comes first.
    ...(driver.missing.exec === undefined
      ? {
          'exec.stdin': () => vm.exec(nothing, { stdin: 'x' }),
          'exec.tty': () => vm.exec(nothing, { tty: { columns: 80, rows: 24 } }),
          'exec.kill': () => vm.exec(nothing, { timeoutMs: 1000 }),
        }
      : {}),
    ...(driver.missing.clone === undefined && driver.missing['snapshot.memory'] === undefined
      ? {
          'clone.memory': async () => {
            await vm.snapshot('kit-memory', { memory: true })
            await vm.clone('kit-memory', { name: t.name() })
          },
        }
      : {}),
    ...(driver.missing.logs === undefined ? { 'logs.since': async () => all(vm.logs({ since: 0 })) } : {}),
  }
}

const SAMPLES: { [K in Exclude<ConfigField, 'name' | 'labels' | 'ttl' | 'driverOptions'>]: VMConfig[K] } = {
  image: 'example.com/kit:1',
  rootfs: '/tmp',
  disk: { size: '1GiB' },
  kernel: { path: '/boot/vmlinuz' },
  command: ['true'],
  args: ['x'],
  env: { KIT: 'x' },
  workdir: '/tmp',
  user: 'nobody',
  tty: true,
  stdin: true,
  cpus: 1,
  memory: '64MiB',
  pids: 10,
  mounts: [{ source: '/tmp', target: '/mnt' }],
  volumes: [{ name: 'kit-volume', target: '/mnt' }],
  ports: [{ guest: 8080 }],
  networks: ['kit-network'],
  devices: [{ type: 'cdi', name: 'vendor.com/gpu=0' }],
  restart: 'always',
  stop: { graceMs: 1000 },
  pull: 'always',
  files: [{ path: 'kit', content: 'x' }],
  cloudInit: { userData: '#cloud-config' },
}
