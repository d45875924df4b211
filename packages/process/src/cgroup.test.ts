import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { folderIn, type Mount, parseKeyed, parseLimit, parseMounts, parseOwnGroups } from './cgroup.js'
import { cgroupV1 } from './cgroup-v1.js'
import { cgroupV2, limitV2, metricsV2 } from './cgroup-v2.js'

const made: string[] = []
afterEach(() => {
  for (const folder of made.splice(0)) rmSync(folder, { recursive: true })
})

/** A folder with files of these contents, for the kernel's. */
function tree(files: Record<string, string>): string {
  const top = mkdtempSync(join(tmpdir(), 'vmkit-cgroup-'))
  made.push(top)
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(top, path)), { recursive: true })
    writeFileSync(join(top, path), content)
  }
  return top
}

// The forms of proc(5): a hybrid host, and a unified one seen from a container.
const HYBRID = `25 23 0:22 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
33 25 0:30 / /sys/fs/cgroup/memory rw,nosuid,relatime shared:13 - cgroup cgroup rw,memory
34 25 0:31 / /sys/fs/cgroup/cpu,cpuacct ro,nosuid,relatime shared:14 - cgroup cgroup rw,cpu,cpuacct
35 25 0:32 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
`
const UNIFIED =
  '30 23 0:26 /docker/abc /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate,memory_recursiveprot\n'

it('reads mounts and groups', () => {
  expect(parseMounts(HYBRID).map(({ path, type, readOnly }) => [path, type, readOnly])).toEqual([
    ['/sys/fs/cgroup/memory', 'cgroup', false],
    ['/sys/fs/cgroup/cpu,cpuacct', 'cgroup', true],
    ['/sys/fs/cgroup/unified', 'cgroup2', false],
  ])
  expect(parseMounts(UNIFIED)[0]).toMatchObject({ root: '/docker/abc', readOnly: true })
  const own = parseOwnGroups('5:cpu,cpuacct:/a\n4:memory:/b:c\n1:name=systemd:/\n0::/user.slice/x\n')
  expect([own.get('cpu'), own.get('cpuacct'), own.get('memory'), own.get('')]).toEqual(['/a', '/a', '/b:c', '/user.slice/x'])
})

it('sees a group through what is mounted, or not at all', () => {
  const mount = { root: '/docker/abc', path: '/cg' } as Mount
  expect(folderIn(mount, '/docker/abc')).toBe('/cg')
  expect(folderIn(mount, '/docker/abc/x')).toBe('/cg/x')
  expect(folderIn(mount, '/docker/abcd')).toBeUndefined()
  expect(folderIn({ ...mount, root: '/' }, '/x')).toBe('/cg/x')
})

it('takes no limit for none', () => {
  expect(parseLimit('9223372036854771712')).toBeNull()
  expect(parseLimit('max')).toBeNull()
  expect(parseLimit(undefined)).toBeNull()
  expect(parseLimit('67108864')).toBe(67108864)
  expect(parseKeyed('oom 0\noom_kill 2\nx max\n')).toEqual({ oom: 0, oom_kill: 2 })
})

it('v1 says of each controller why it is missing', () => {
  const { missing } = cgroupV1(parseMounts(HYBRID), new Map())
  expect(missing.cpu).toContain('read-only')
  expect(missing.pids).toContain('not mounted')
})

const CONTROLLERS = 'cpuset cpu io memory pids\n'

it('v2 makes machines in the nearest group that may give controllers, and gives them', () => {
  const top = tree({
    'cgroup.controllers': CONTROLLERS,
    'cgroup.subtree_control': 'memory\n',
    'cgroup.procs': '1\n',
    'app.slice/cgroup.controllers': 'memory pids\n',
    'app.slice/cgroup.subtree_control': 'memory\n',
    'app.slice/cgroup.procs': '',
    'app.slice/app.service/cgroup.controllers': 'memory\n',
    'app.slice/app.service/cgroup.subtree_control': '\n',
    'app.slice/app.service/cgroup.procs': '4711\n',
  })
  const mount: Mount = { root: '/', path: top, type: 'cgroup2', options: [], readOnly: false }
  const groups = cgroupV2(mount, '/app.slice/app.service')
  expect(Object.keys(groups.missing)).toEqual(['cpu'])
  const record = groups.create('web~0', { memory: 1000, pids: 5 })
  expect(record.folders.unified).toBe(join(top, 'app.slice', 'vmkit-process-web~0'))
  expect(readFileSync(join(top, 'app.slice/cgroup.subtree_control'), 'utf8')).toBe('+pids')
  expect(readFileSync(join(record.folders.unified as string, 'memory.max'), 'utf8')).toBe('1000')
  expect(readFileSync(join(record.folders.unified as string, 'pids.max'), 'utf8')).toBe('5')
})

it('v2 is missing where it is read-only', () => {
  const { missing } = cgroupV2(parseMounts(UNIFIED)[0] as Mount, '/docker/abc')
  expect(Object.values(missing)).toEqual(Array(3).fill('/sys/fs/cgroup is mounted read-only'))
})

it('v2 figures are read as the kernel writes them', () => {
  // The forms of cgroup-v2.rst.
  const top = tree({
    'cpu.stat': 'usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\nnice_usec 0\nnr_periods 0\n',
    'memory.current': '52428800\n',
    'memory.max': 'max\n',
    'memory.swap.max': 'max\n',
    'pids.current': '3\n',
  })
  const record = { version: 2 as const, folders: { unified: top } }
  expect(metricsV2(record)).toEqual({
    cpu: { usageMs: 1234.567, userMs: 1000, systemMs: 234.567 },
    memory: { usedBytes: 52428800, limitBytes: null },
    pids: 3,
  })
  limitV2(record, { cpus: 0.5, memory: 4096 })
  expect(readFileSync(join(top, 'cpu.max'), 'utf8')).toBe('50000 100000')
  expect(readFileSync(join(top, 'memory.swap.max'), 'utf8')).toBe('0')
})
