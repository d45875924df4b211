import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { findControllers } from './controllers.js'
import { limitCpus, makeGroup, planGroup, ranOutOfMemory } from './group.js'

const top = mkdtempSync(join(tmpdir(), 'vmkit-kvm-cgroup-'))
afterAll(() => rmSync(top, { recursive: true }))
const put = (path: string, text: string): void => {
  mkdirSync(dirname(join(top, path)), { recursive: true })
  writeFileSync(join(top, path), text)
}
const read = (path: string): string => readFileSync(join(top, path), 'utf8')

// The forms of proc(5): a hybrid host, and a unified one.
it('on a hybrid host uses version 1, and says of each controller why not', () => {
  put('memory/app/tasks', '')
  const { version, parents, missing } = findControllers(
    `33 25 0:30 / ${top}/memory rw,nosuid - cgroup cgroup rw,memory
34 25 0:31 / ${top}/cpu ro,nosuid - cgroup cgroup rw,cpu,cpuacct
35 25 0:32 / ${top}/unified rw - cgroup2 cgroup2 rw`,
    '5:cpu,cpuacct:/app\n4:memory:/app\n0::/app',
  )
  expect([version, parents]).toEqual([1, { memory: join(top, 'memory/app') }])
  expect(missing).toEqual({ cpu: `${top}/cpu is mounted read-only`, pids: 'this host has no cgroup controller pids' })
})

it('of version 2 uses the nearest group that gives a controller, and limits all by its files', async () => {
  put('v2/cgroup.controllers', 'cpu memory pids')
  put('v2/cgroup.subtree_control', 'memory')
  put('v2/cgroup.procs', '1\n')
  put('v2/app/cgroup.controllers', 'memory')
  put('v2/app/cgroup.subtree_control', '')
  put('v2/app/cgroup.procs', '4711\n')
  const host = findControllers(`30 23 0:26 / ${top}/v2 rw,nosuid - cgroup2 cgroup rw`, '0::/app')
  expect([host.version, host.parents.cpu, host.missing]).toEqual([2, join(top, 'v2'), {}])
  const limits = { cpus: 0.5, memory: 2 ** 30, pids: 100 }
  const group = planGroup('abc', limits, host)
  if (!group) throw new Error('there are limits')
  await makeGroup(group, limits)
  expect(read('v2/cgroup.subtree_control')).toMatch(/\+(cpu|pids)/)
  expect([read('v2/vmkit-kvm-abc/cpu.max'), read('v2/vmkit-kvm-abc/memory.max'), read('v2/vmkit-kvm-abc/pids.max')]).toEqual([
    '50000 100000',
    String(2 ** 30),
    '100',
  ])
  limitCpus(group, 2)
  expect(read('v2/vmkit-kvm-abc/cpu.max')).toBe('200000 100000')
  // The form of cgroup-v2.rst.
  put('v2/vmkit-kvm-abc/memory.events', 'low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n')
  expect(ranOutOfMemory(group)).toBe(true)
})

it('refuses with the reason of the host, and without limits makes no group', () => {
  const host = findControllers('', '')
  expect(planGroup('abc', {}, host)).toBeUndefined()
  expect(() => planGroup('abc', { cpus: 0.5 }, host)).toThrow(/cpu of a QEMU: this host has no cgroup controller cpu/)
})
