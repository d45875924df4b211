import assert from 'node:assert/strict'
import { CAPABILITIES, CAPABILITY_TABLE } from '@vmkit/core'
import { checkDriver } from '@vmkit/core/driver'
import type { Test } from '../tools.js'

/** The manifest is data that apps rely on before anything runs: it must fit the methods, stay as it is, and explain itself. */
export function manifest(test: Test): void {
  test('claims fit the methods', { early: true }, async ({ facts }) => checkDriver(facts))

  test('the manifest cannot be changed', { early: true }, async ({ facts }) => {
    assert.ok(Object.isFrozen(facts.capabilities), 'capabilities: expected a frozen object')
    assert.ok(Object.isFrozen(facts.fields), 'fields: expected a frozen array')
  })

  test('two instances claim the same', { early: true }, async ({ facts, raw }) => {
    const other = raw()
    assert.notEqual(other, facts, 'createDriver must make a new instance at each call')
    assert.deepEqual({ ...other.capabilities }, { ...facts.capabilities })
    assert.deepEqual([...other.fields], [...facts.fields])
    assert.deepEqual(
      [other.name, other.apiVersion, other.durability, other.isolation],
      [facts.name, facts.apiVersion, facts.durability, facts.isolation],
    )
  })

  test('derived capabilities come with what they build on', { early: true }, async ({ facts }) => {
    for (const capability of CAPABILITIES) {
      const base = capability.startsWith('exec.')
        ? 'exec'
        : capability.startsWith('logs.')
          ? 'logs'
          : capability === 'files.archive'
            ? 'files'
            : undefined
      if (base && facts.capabilities[capability]) assert.ok(facts.capabilities[base], `it claims ${capability} without ${base}`)
    }
  })

  test('fields that a capability brings are not claimed apart', { early: true }, async ({ facts }) => {
    for (const capability of CAPABILITIES) {
      for (const field of CAPABILITY_TABLE[capability].fields) {
        if (facts.capabilities[capability] !== true) continue
        assert.ok(!facts.fields.includes(field), `\`${field}\` comes with ${capability}; drop it from \`fields\``)
      }
    }
  })

  test('the probe gives a reason for everything it says is missing', {}, async ({ facts, probe }) => {
    for (const [capability, reason] of Object.entries(probe.missing)) {
      assert.ok(Object.hasOwn(CAPABILITY_TABLE, capability), `the probe names ${capability}, which is no capability`)
      assert.match(reason, /\S{2,}/, `${capability}: expected a reason`)
      assert.notEqual(
        facts.capabilities[capability as keyof typeof facts.capabilities],
        true,
        `${capability} is claimed for every host, and missing on this one: claim 'probe'`,
      )
    }
  })

  test('the probe names the engine', {}, async ({ probe }) => {
    assert.ok(probe.available)
    assert.ok(probe.engine === undefined || probe.engine.length > 0)
    if (probe.resources) assert.ok(probe.resources.cpus > 0 && probe.resources.memoryBytes > 0, 'resources: expected numbers above 0')
  })

  test('the probe can be asked again, and concurrently', {}, async ({ raw, context, probe }) => {
    const driver = raw()
    const probes = await Promise.all([driver.probe(context()), driver.probe(context()), driver.probe(context())])
    for (const other of probes) assert.deepEqual(Object.keys(other.missing).sort(), Object.keys(probe.missing).sort())
  })
}
