import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { rejects } from '../assertions.js'
import type { Test, Tools } from '../tools.js'

/** Things with names beside machines, and folders of this host. */
export function volumesNetworks(test: Test): void {
  for (const kind of ['volumes', 'networks'] as const) {
    test(`${kind} are made, listed and removed by name`, { needs: [kind] }, async (t) => {
      const api = t.driver[kind]
      const name = t.name()
      t.undo(() => api.remove(name).catch(() => {}))
      assert.equal((await api.create(name, { labels: { purpose: 'kit' } })).name, name)
      const listed = (await api.list()).find((entry) => entry.name === name)
      assert.equal(listed?.labels.purpose, 'kit')
      await rejects(api.create(name), 'ALREADY_EXISTS')
      await api.remove(name)
      assert.ok(!(await api.list()).some((entry) => entry.name === name))
      await rejects(api.remove(name), 'NOT_FOUND')
      await rejects(api.create('../x'), 'INVALID_CONFIG')
    })
  }

  test('what is in a volume outlives its machine', { needs: ['volumes', 'files'] }, async (t) => {
    const name = volume(t)
    const config = { volumes: [{ name, target: '/kit-volume' }] }
    const one = await t.start({ does: 'idle' }, config)
    await one.files.write('/kit-volume/kept', 'kept')
    await one.delete({ force: true })
    const two = await t.start({ does: 'idle' }, config)
    assert.equal(await two.files.readText('/kit-volume/kept'), 'kept')
  })

  test('a volume in use is not removed', { needs: ['volumes'] }, async (t) => {
    const name = volume(t)
    const vm = await t.start({ does: 'idle' }, { volumes: [{ name, target: '/kit-volume' }] })
    await rejects(t.driver.volumes.remove(name), 'CONFLICT')
    await vm.delete({ force: true })
  })

  test('a folder of the host is seen inside, and writes come out', { needs: ['mounts', 'files'] }, async (t) => {
    const source = await mkdtemp(join(tmpdir(), 'vmkit-kit-'))
    t.undo(() => rm(source, { recursive: true, force: true }))
    await writeFile(join(source, 'in'), 'from the host')
    const vm = await t.start({ does: 'idle' }, { mounts: [{ source, target: '/kit-mount' }] })
    assert.equal(await vm.files.readText('/kit-mount/in'), 'from the host')
    await vm.files.write('/kit-mount/out', 'from the machine')
    assert.equal(await readFile(join(source, 'out'), 'utf8'), 'from the machine')
    const readOnly = await t.start({ does: 'idle' }, { mounts: [{ source, target: '/kit-mount', readOnly: true }] })
    await assert.rejects(readOnly.files.write('/kit-mount/out', 'changed'))
    assert.equal(await readFile(join(source, 'out'), 'utf8'), 'from the machine')
  })

  test('a mount whose source is not there is refused, and nothing is made', { needs: ['mounts'] }, async (t) => {
    await rejects(t.driver.create(t.config({ does: 'idle' }, { mounts: [{ source: '/nonexistent/vmkit', target: '/kit' }] })), [
      'INVALID_CONFIG',
      'NOT_FOUND',
    ])
    assert.equal((await t.mine()).length, 0)
  })

  test('a machine in a network', { needs: ['networks'] }, async (t) => {
    const name = t.name()
    await t.driver.networks.create(name)
    t.undo(() => t.driver.networks.remove(name).catch(() => {}))
    const vm = await t.start({ does: 'idle' }, { networks: [{ name, aliases: ['kit-alias'] }] })
    assert.equal((await vm.info()).config.networks[0]?.name, name)
    await vm.delete({ force: true })
    await t.driver.networks.remove(name)
  })

  test('a network that is not there is refused, and nothing is made', { needs: ['networks'] }, async (t) => {
    const config = t.config({ does: 'idle' }, { networks: ['kit-no-such-network'] })
    await rejects(async () => (await t.driver.create(config, { onDispose: 'detach' })).start(), ['NOT_FOUND', 'INVALID_CONFIG'])
    for (const { id } of await t.mine()) assert.notEqual((await (await t.driver.get(id)).status()).state, 'running')
  })
}

/** A name for a volume that is removed after the test; machines go first, because later clean-up runs earlier. */
function volume(t: Tools): string {
  const name = t.name()
  t.undo(async () => {
    for (const { id } of await t.mine()) await (await t.driver.get(id)).delete({ force: true })
    await t.driver.volumes.remove(name).catch(() => {})
  })
  return name
}
