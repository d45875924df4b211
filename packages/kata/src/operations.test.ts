/** Ways to a new machine: each looks at the host as it is now, also in a program that was just started. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseConfig } from '@vmkit/core'
import type { CallContext } from '@vmkit/core/driver'
import { afterAll, beforeEach, expect, it } from 'vitest'
import type { Inner } from './inner.js'
import { operations } from './operations.js'

const folder = mkdtempSync(join(tmpdir(), 'vmkit-kata-test-'))
const shim = join(folder, 'shim')
const configPath = join(folder, 'configuration.toml')
const allow = (...names: string[]) =>
  writeFileSync(configPath, `[hypervisor.qemu]\npath = "/usr/bin/qemu"\nenable_annotations = ${JSON.stringify(names)}\n`)

writeFileSync(shim, `#!/bin/sh\necho 'Kata Containers containerd shim (Golang): id: "io.containerd.kata.v2", version: 3.28.0, commit: 0'\n`)
chmodSync(shim, 0o755)
afterAll(() => rmSync(folder, { recursive: true }))
beforeEach(() => allow('default_vcpus'))

const ctx: CallContext = { signal: new AbortController().signal, deadline: undefined, report: () => {} }
const annotations = { 'io.katacontainers.config.hypervisor.default_vcpus': '2' }
const config = parseConfig({ name: 'm', image: 'x', driverOptions: { kata: { annotations } } } as never)

/** As containerd's driver does it: the spec is made within the call, and asks what Kata says to it. */
function fresh() {
  const make = async () => {
    made.annotations(config)
    return { id: 'm' }
  }
  const inner = { create: make, clone: make, importBundle: make, finishIncoming: make } as unknown as Inner
  const made = operations(inner, { runtime: shim, configPath, allowStandIn: false }, {})
  return made
}

const ways: Record<string, () => Promise<unknown>> = {
  create: () => fresh().create(config, ctx),
  clone: () => fresh().clone('m', { tag: 'x' } as never, ctx),
  importBundle: () => fresh().importBundle((async function* () {})(), { labels: {} }, ctx),
  finishIncoming: () => fresh().finishIncoming({ id: 't', driver: 'kata' }, ctx),
}

it.each(Object.entries(ways))('%s takes what the host allows, and refuses it by name once it does not', async (_name, way) => {
  await way()
  allow()
  await expect(way()).rejects.toMatchObject({ code: 'UNSUPPORTED', field: 'config.driverOptions.kata.annotations' })
})
