import { existsSync } from 'node:fs'
import { expect, it } from 'vitest'
import { processDriver } from '../src/driver.js'
import { cgroupFolders, cgroupOf } from '../src/machine-cgroup.js'
import { store } from '../src/store.js'
import { bench, ctx, line } from './tools.js'

const MIB = 2 ** 20
const { missing } = await processDriver().probe(ctx)
const reason = missing['limits.memory'] ?? missing['limits.cpu'] ?? missing['limits.pids']
// In the name, so that the closing table tells it.
const why = reason ? ` (not run: ${reason})` : ''

it.skipIf(reason)(`memory: what takes too much is killed, and told as out of memory${why}`, async () => {
  await using machines = bench()
  const { exit } = await machines.run(['sh', '-c', 'exec tail /dev/zero'], { memory: 24 * MIB })
  expect(exit).toMatchObject({ code: null, signal: 'SIGKILL', oom: true, reason: 'oom' })
})

it.skipIf(reason)(`a SIGKILL under a memory limit is not taken for out of memory${why}`, async () => {
  await using machines = bench()
  const { exit } = await machines.run(['sh', '-c', 'kill -KILL $$'], { memory: 64 * MIB })
  expect(exit).toMatchObject({ signal: 'SIGKILL', oom: false, reason: 'signalled' })
})

it.skipIf(reason)(`groups hold main and what exec runs, are frozen as a whole, and go with the machine${why}`, async () => {
  await using machines = bench()
  const id = await machines.start(['sleep', '1000'], { memory: 64 * MIB, cpus: 0.5, pids: 32 })
  const machine = store(machines.stateDir).get(id)
  const folders = cgroupFolders(cgroupOf(machine))
  expect(folders.length).toBeGreaterThan(0)
  const session = await machines.driver.execStream(id, { command: ['cat', '/proc/self/cgroup'] }, ctx)
  let text = ''
  for await (const { data } of session.output) text += Buffer.from(data).toString()
  expect(text).toContain(`vmkit-process-${id}`)
  const metrics = await machines.driver.getMetrics(id, ctx)
  expect(metrics.source).toMatch(/^cgroup-v[12]$/)
  expect(metrics.memory?.limitBytes).toBe(64 * MIB)
  await machines.driver.pause(id, ctx)
  expect((await machines.driver.getStatus(id, ctx)).state).toBe('paused')
  await machines.driver.stop(id, { graceMs: 2000 }, ctx)
  await machines.driver.delete(id, { force: false }, ctx)
  expect(folders.filter((folder) => existsSync(folder))).toEqual([])
})

it.skipIf(reason)(`stop ends what wiped its environment and left its parent, when there is a group${why}`, async () => {
  await using machines = bench()
  const id = await machines.start(['sh', '-c', "setsid env -i /bin/sh -c '(sleep 1000) & echo pid $!' & wait $!; sleep 1000"], { pids: 32 })
  const pid = Number((await line(machines.driver, id, /^pid/)).slice(4))
  await machines.driver.stop(id, { graceMs: 100 }, ctx)
  expect(existsSync(`/proc/${pid}/exe`)).toBe(false)
})

it.skipIf(reason)(`a machine without limits gets them by resize, children too${why}`, async () => {
  await using machines = bench()
  const id = await machines.start(['sh', '-c', 'sleep 1000 & echo up; wait'])
  await line(machines.driver, id, /up/)
  await machines.driver.resize(id, { memory: 96 * MIB, pids: 20 }, ctx)
  const metrics = await machines.driver.getMetrics(id, ctx)
  expect([metrics.memory?.limitBytes, metrics.pids]).toEqual([96 * MIB, 2])
  expect((await machines.driver.getInfo(id, ctx)).config).toMatchObject({ memory: 96 * MIB, pids: 20 })
})
