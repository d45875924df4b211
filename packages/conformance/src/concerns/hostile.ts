import assert from 'node:assert/strict'
import { outcome, rejects } from '../assertions.js'
import type { Test } from '../tools.js'

const NO_NAMES = [
  '',
  '.',
  '..',
  '../x',
  '/etc/passwd',
  '-rf',
  '--help',
  'a b',
  'a/b',
  'a\\b',
  'a\0b',
  'a\nb',
  'a,b=c',
  '$(id)',
  'ü',
  'x'.repeat(64),
  '%2e%2e',
]
const NO_IDS = [
  '../../etc',
  '..',
  '/',
  '-rf',
  '--all',
  'a b',
  'a\nb',
  'a?x=y',
  'a#b',
  'a/json',
  '%2e%2e%2f',
  '__proto__',
  'constructor',
  'x'.repeat(5000),
  '*',
  '$(id)',
  'a\0b',
]

/** Guarantee 11: what comes from outside is refused or kept exactly; it is never a path, an option, or a command. */
export function hostile(test: Test): void {
  test('names that are none are refused before anything is made', {}, async (t) => {
    for (const name of NO_NAMES)
      await rejects(t.driver.create(t.config({ does: 'idle' }, { name })), 'INVALID_CONFIG', JSON.stringify(name))
    assert.equal((await t.mine()).length, 0)
  })

  test('strange names that are names live a whole life', {}, async (t) => {
    const stem = t.name()
    const names = [
      `${stem}..`,
      `${stem}.lock`,
      `${stem}.json`,
      `${stem}.tmp`,
      `${stem}--help`,
      `${stem}-_.-`,
      stem.padEnd(63, 'x'),
      `${stem}.UPPER`,
      `${stem}.upper`,
    ]
    for (const name of names) await t.create({ does: 'idle' }, { name })
    assert.deepEqual((await t.mine()).map(({ name }) => name).sort(), [...names].sort())
    for (const name of names) {
      const vm = await t.driver.get(name)
      assert.equal(vm.name, name)
      assert.equal((await vm.info()).name, name)
    }
    const last = await t.driver.get(names[0] as string)
    await last.start()
    await last.delete({ force: true })
    assert.equal((await t.mine()).length, names.length - 1)
  })

  test('ids that are none find nothing and touch nothing', {}, async (t) => {
    const bystander = await t.start({ does: 'idle' })
    const driver = t.raw()
    await driver.probe(t.context())
    for (const id of NO_IDS) {
      const what = JSON.stringify(id.slice(0, 40))
      await rejects(t.driver.get(id), ['NOT_FOUND', 'INVALID_CONFIG'], `get ${what}`)
      await rejects(driver.getStatus(id, t.context()), ['NOT_FOUND', 'INVALID_CONFIG'], `getStatus ${what}`)
      await rejects(driver.start(id, t.context()), ['NOT_FOUND', 'INVALID_CONFIG'], `start ${what}`)
      await rejects(driver.stop(id, { graceMs: 0 }, t.context()), ['NOT_FOUND', 'INVALID_CONFIG'], `stop ${what}`)
      await rejects(driver.delete(id, { force: true }, t.context()), ['NOT_FOUND', 'INVALID_CONFIG'], `delete ${what}`)
    }
    assert.equal((await bystander.status()).state, 'running')
  })

  test('labels come back as they went in, and are found', {}, async (t) => {
    const labels: Record<string, string> = {
      'a b': 'c d',
      '=': '==',
      '"': "'",
      ü: '✓𝄞',
      'x,y': 'new\nline',
      '--all': '-rf',
      'key.with/slash': '',
      constructor: 'x',
      '$(id)': '`id`',
    }
    const vm = await t.create({ does: 'idle' }, { labels })
    const info = await vm.info()
    for (const [key, value] of Object.entries(labels)) {
      assert.equal(info.labels[key], value, JSON.stringify(key))
      assert.deepEqual(
        (await t.driver.list({ labels: { [key]: value } })).map(({ id }) => id),
        [vm.id],
        `found by ${JSON.stringify(key)}`,
      )
    }
  })

  test('secrets do not come back in errors', {}, async (t) => {
    const secret = 'hunter2-s3cr3t'
    const config = t.config({ does: 'idle' }, t.facts.fields.includes('env') ? { env: { PASSWORD: secret } } : {})
    await t.driver.create(config, { onDispose: 'detach' })
    const error = await rejects(t.driver.create(config), 'ALREADY_EXISTS')
    assert.ok(!JSON.stringify(error.toJSON()).includes(secret) && !String(error.stack).includes(secret), 'a value of env is in the error')
    const wrong = await rejects(t.driver.create({ ...config, env: { PASSWORD: `${secret}\0` } }), 'INVALID_CONFIG')
    assert.ok(!JSON.stringify(wrong.toJSON()).includes(secret))
  })

  test('snapshot tags that are none are refused', { needs: ['snapshot.disk'] }, async (t) => {
    const vm = await t.create({ does: 'idle' })
    for (const tag of NO_NAMES) await rejects(vm.snapshot(tag), 'INVALID_CONFIG', JSON.stringify(tag))
    await rejects(vm.restore('../x'), 'INVALID_CONFIG')
    await rejects(vm.deleteSnapshot('-rf'), 'INVALID_CONFIG')
    assert.deepEqual(await vm.snapshots(), [])
  })

  test('files outside are not reached through the path', { needs: ['files'] }, async (t) => {
    if (t.facts.isolation !== 'process') t.skip(`the machine has its own file system (isolation \`${t.facts.isolation}\`)`)
    const vm = await t.start({ does: 'idle' })
    for (const path of ['../../../../../../etc/hostname', '/etc/hostname', 'a/../../../../../../etc/hostname']) {
      const result = await outcome(vm.files.read(path))
      assert.ok(['NOT_FOUND', 'INVALID_CONFIG', 'PERMISSION_DENIED'].includes(result), `read ${path}: ${result}`)
      const written = await outcome(vm.files.write(path.replace('hostname', 'kit-escape'), 'x'))
      assert.ok(['NOT_FOUND', 'INVALID_CONFIG', 'PERMISSION_DENIED'].includes(written), `write ${path}: ${written}`)
    }
  })
}
