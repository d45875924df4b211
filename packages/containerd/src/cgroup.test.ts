import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { cgroupTraits, cgroupVersion, oomKills } from './cgroup.js'

const roots: string[] = []
afterEach(() => {
  for (const root of roots.splice(0)) rmSync(root, { recursive: true })
})

/** A cgroup file system: the format is that of the kernel's cgroup-v1 and cgroup-v2 documents. */
function tree(files: Readonly<Record<string, string>>): string {
  const root = mkdtempSync(join(tmpdir(), 'vmkit-cgroup-'))
  roots.push(root)
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), content)
  }
  return root
}

it('of version 2 the controllers say what can be limited, and every cgroup can be frozen', () => {
  const root = tree({ 'cgroup.controllers': 'cpuset cpu io memory pids\n' })
  expect(cgroupVersion(root)).toBe(2)
  expect(cgroupTraits(root)).toMatchObject({ memory: true, cpu: true, pids: true, freezer: true })
  expect(cgroupTraits(tree({ 'cgroup.controllers': 'cpu\n' }))).toEqual({
    memory: false,
    cpu: true,
    pids: false,
    freezer: true,
    swap: false,
  })
})

it('of version 1 the hierarchies do, and a hybrid host is one of version 1', () => {
  const root = tree({ 'memory/memory.memsw.limit_in_bytes': '0\n', 'cpu,cpuacct/tasks': '', 'unified/cgroup.controllers': '\n' })
  expect(cgroupVersion(root)).toBe(1)
  expect(cgroupTraits(root)).toEqual({ memory: true, cpu: true, pids: false, freezer: false, swap: true })
})

it('kills for lack of memory are counted on both, and unknown when the cgroup is gone', () => {
  const events = 'low 0\nhigh 0\nmax 12\noom 2\noom_kill 2\noom_group_kill 0\n'
  expect(oomKills('/vmkit/one', tree({ 'vmkit/one/memory.events': events }))).toBe(2)
  expect(oomKills('/vmkit/one', tree({ 'memory/vmkit/one/memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 1\n' }))).toBe(1)
  expect(oomKills('/vmkit/gone', tree({}))).toBeNull()
})
