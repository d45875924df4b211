import type { MachineConfig } from '@vmkit/core/driver'
import { describe, expect, it } from 'vitest'
import { buildSpec, type SpecInput } from './build.js'
import { applyCdi } from './cdi.js'
import { ALL_CAPABILITIES } from './defaults.js'
import { hostCapabilities } from './host-capabilities.js'
import { hostsFile, resolvConf } from './host-files.js'
import { resourcesOf } from './resources.js'
import { seccompProfile } from './seccomp.js'
import { resolveUser } from './users.js'

const config: MachineConfig = {
  name: 'one',
  env: {},
  tty: false,
  stdin: false,
  mounts: [],
  volumes: [],
  ports: [],
  networks: [],
  devices: [],
  labels: {},
  stop: { graceMs: 1000 },
  pull: 'missing',
  files: [],
  driverOptions: {},
}

const input = (changes: Partial<SpecInput> = {}, ofConfig: Partial<MachineConfig> = {}): SpecInput => ({
  config: { ...config, ...ofConfig },
  options: {},
  image: { Entrypoint: ['/init'], Cmd: ['serve'], Env: ['A=image', 'B=image'], WorkingDir: '/srv' },
  user: { uid: 0, gid: 0, home: '/root' },
  host: { devices: [], rules: [], edits: { env: [], nodes: [], mounts: [], hooks: {}, additionalGids: [] } },
  hostname: 'box',
  network: 'none',
  hostFiles: { hosts: '/s/hosts', hostname: '/s/hostname', resolvConf: '/s/resolv.conf' },
  volumeFolders: [],
  cgroupsPath: '/vmkit/one',
  hasSwap: true,
  arch: 'x64',
  grantable: () => ALL_CAPABILITIES,
  ...changes,
})

describe('the process', () => {
  it('is the image’s, unless the config says otherwise', () => {
    expect(buildSpec(input()).process.args).toEqual(['/init', 'serve'])
    expect(buildSpec(input({}, { args: ['other'] })).process.args).toEqual(['/init', 'other'])
    expect(buildSpec(input({}, { command: ['sh'] })).process.args).toEqual(['sh'])
    expect(buildSpec(input({}, { command: ['sh'], args: ['-c', 'x'] })).process.args).toEqual(['sh', '-c', 'x'])
    expect(() => buildSpec(input({ image: {} }))).toThrow(/`config.command`: expected a program/)
  })

  it('has the environment of the image below that of the config', () => {
    const { env, cwd } = buildSpec(input({}, { env: { B: 'config', EMPTY: '' } })).process
    expect(env).toContain('A=image')
    expect(env).toContain('B=config')
    expect(env).toContain('EMPTY=')
    expect(env).toContain('HOSTNAME=box')
    expect(env.filter((entry) => entry.startsWith('B='))).toHaveLength(1)
    expect(cwd).toBe('/srv')
  })

  it('has rights only as root', () => {
    expect(buildSpec(input()).process.capabilities?.effective).toContain('CAP_CHOWN')
    const plain = buildSpec(input({ user: { uid: 1000, gid: 1000, home: '/' } })).process.capabilities
    expect(plain?.effective).toEqual([])
    expect(plain?.bounding).toContain('CAP_CHOWN')
  })

  it('takes capabilities by name, and refuses others', () => {
    const named = (options: SpecInput['options']) => buildSpec(input({ options })).process.capabilities?.bounding
    expect(named({ capAdd: ['net_admin'], capDrop: ['CAP_MKNOD'] })).toContain('CAP_NET_ADMIN')
    expect(named({ capAdd: ['net_admin'], capDrop: ['CAP_MKNOD'] })).not.toContain('CAP_MKNOD')
    expect(named({ capDrop: ['ALL'], capAdd: ['KILL'] })).toEqual(['CAP_KILL'])
    expect(() => named({ capAdd: ['FLY'] })).toThrow(/capAdd\.0/)
  })

  it('takes all capabilities that there are, and refuses those that this host has not', () => {
    const grantable = () => hostCapabilities('Name:\tnode\nCapBnd:\t00000000a80425fb\n')
    const named = (options: SpecInput['options']) => buildSpec(input({ options, grantable })).process.capabilities?.bounding
    expect(named({ privileged: true })).toHaveLength(14)
    expect(named({ capAdd: ['ALL'], capDrop: ['KILL'] })).toHaveLength(13)
    expect(named({ capAdd: ['KILL'] })).toHaveLength(14)
    expect(() => named({ capAdd: ['KILL', 'NET_ADMIN'] })).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED', field: 'config.driverOptions.containerd.capAdd.1' }),
    )
  })
})

describe('isolation', () => {
  it('hides and filters unless it is privileged', () => {
    const { linux } = buildSpec(input())
    expect(linux.maskedPaths).toContain('/proc/kcore')
    expect(linux.seccomp?.defaultAction).toBe('SCMP_ACT_ERRNO')
    expect(linux.resources.devices?.[0]).toEqual({ allow: false, access: 'rwm' })
    const all = buildSpec(input({ options: { privileged: true } })).linux
    expect([all.maskedPaths, all.seccomp, all.resources.devices?.[0]?.allow]).toEqual([[], undefined, true])
  })

  it('joins the network that it is told', () => {
    const network = (value: SpecInput['network']) =>
      buildSpec(input({ network: value })).linux.namespaces.filter(({ type }) => type === 'network')
    expect(network('none')).toEqual([{ type: 'network' }])
    expect(network({ path: '/run/net' })).toEqual([{ type: 'network', path: '/run/net' }])
    expect(network('host')).toEqual([])
  })

  it('allows mount only with its capability, and namespaces never through clone', () => {
    const allowed = (capabilities: string[]) =>
      seccompProfile(capabilities, 'x64').syscalls.flatMap(({ names, action }) => (action === 'SCMP_ACT_ALLOW' ? names : []))
    expect(allowed([])).not.toContain('mount')
    expect(allowed(['CAP_SYS_ADMIN'])).toContain('mount')
    for (const name of ['keyctl', 'kexec_load', 'io_uring_setup', 'userfaultfd', 'add_key']) expect(allowed([])).not.toContain(name)
    for (const name of ['read', 'execve', 'openat', 'futex', 'accept4', 'arch_prctl']) expect(allowed([])).toContain(name)
    const clone = seccompProfile([], 'x64').syscalls.filter(({ names }) => names.includes('clone'))
    expect(clone.map(({ args }) => args?.[0]?.op)).toEqual(['SCMP_CMP_MASKED_EQ'])
    expect(seccompProfile([], 'x64').syscalls.find(({ names }) => names.includes('clone3'))?.errnoRet).toBe(38)
  })
})

describe('mounts', () => {
  it('come in order of depth, in place of the usual ones', () => {
    const { mounts } = buildSpec(
      input(
        { volumeFolders: ['/v/data'] },
        {
          mounts: [
            { source: '/h/deep', target: '/data/in/deep', readOnly: true },
            { source: '/h/hosts', target: '/etc/hosts', readOnly: false },
          ],
          volumes: [{ name: 'data', target: '/data', readOnly: false }],
        },
      ),
    )
    const targets = mounts.map(({ destination }) => destination)
    expect(targets.indexOf('/data')).toBeLessThan(targets.indexOf('/data/in/deep'))
    expect(mounts.filter(({ destination }) => destination === '/etc/hosts').map(({ source }) => source)).toEqual(['/h/hosts'])
    expect(mounts.find(({ destination }) => destination === '/data/in/deep')?.options).toContain('ro')
  })
})

describe('limits', () => {
  it('are whole numbers of what the kernel counts', () => {
    expect(resourcesOf({ cpus: 0.5, memory: 2 ** 26, pids: 9 }, {}, true)).toEqual({
      memory: { limit: 2 ** 26, swap: 2 ** 26 },
      cpu: { period: 100_000, quota: 50_000 },
      pids: { limit: 9 },
    })
    expect(resourcesOf({ memory: 2 ** 26 }, {}, false)).toEqual({ memory: { limit: 2 ** 26 } })
    expect(resourcesOf({ cpus: 0.001 }, {}, true).cpu?.quota).toBe(1000)
    expect(resourcesOf({}, {}, true)).toEqual({})
  })
})

describe('users', () => {
  const accounts = {
    passwd: 'root:x:0:0:root:/root:/bin/sh\nbroken\nworker:x:1000:1001::/home/worker:/bin/sh\n',
    group: 'root:x:0:\nstaff:x:50:worker,other\nworkers:x:1001:\n',
  }
  const user = (text: string | undefined) => resolveUser(text, accounts, 'config.user')

  it('are looked up in the rootfs', () => {
    expect(user(undefined)).toEqual({ uid: 0, gid: 0, home: '/root' })
    expect(user('worker')).toEqual({ uid: 1000, gid: 1001, additionalGids: [50], home: '/home/worker' })
    expect(user('1000')).toMatchObject({ uid: 1000, gid: 1001 })
    expect(user('worker:staff')).toEqual({ uid: 1000, gid: 50, home: '/home/worker' })
    expect(user('4711')).toEqual({ uid: 4711, gid: 0, home: '/' })
    expect(user('4711:12')).toEqual({ uid: 4711, gid: 12, home: '/' })
  })

  it('that are not there are refused by name', () => {
    for (const text of ['nobody', 'worker:nogroup', 'a:b:c', '99999999999']) expect(() => user(text), text).toThrow(/`config.user`/)
  })
})

describe('CDI', () => {
  const file = {
    cdiVersion: '0.6.0',
    kind: 'vendor.com/thing',
    containerEdits: { env: ['ALL=1'], hooks: [{ hookName: 'createContainer', path: '/bin/hook' }] },
    devices: [
      { name: 'a', containerEdits: { env: ['A=1'], deviceNodes: [{ path: '/dev/a' }] } },
      { name: 'b', containerEdits: { mounts: [{ hostPath: '/lib/b', containerPath: '/lib/b' }] } },
    ],
  }

  it('devices bring their edits, and those of their file once', () => {
    const names = ['vendor.com/thing=a', 'vendor.com/thing=b'].map((name) => ({ name, field: 'config.devices.0.name' }))
    const { env, nodes, mounts, hooks } = applyCdi(names, [file])
    expect(env).toEqual(['ALL=1', 'A=1'])
    expect(nodes).toEqual([{ path: '/dev/a' }])
    expect(mounts).toEqual([{ destination: '/lib/b', type: 'bind', source: '/lib/b', options: ['ro', 'rbind'] }])
    expect(hooks.createContainer).toEqual([{ path: '/bin/hook' }])
  })

  it('devices that no file has are refused, with those that there are', () => {
    expect(() => applyCdi([{ name: 'vendor.com/thing=c', field: 'f' }], [file])).toThrow(/vendor\.com\/thing=a, vendor\.com\/thing=b/)
    expect(() => applyCdi([{ name: 'nonsense', field: 'f' }], [])).toThrow(/`f`/)
  })
})

describe('files of the host', () => {
  it('hosts', () => {
    expect(hostsFile([{ address: '10.0.0.2', names: ['box', 'alias'] }], ['db:10.1.1.1'])).toContain('10.1.1.1\tdb\n10.0.0.2\tbox alias\n')
  })

  it('resolv.conf keeps no name server on the host’s loopback', () => {
    const host = '# comment\nnameserver 127.0.0.53\nnameserver 9.9.9.9\nsearch example.org\noptions ndots:1\n'
    expect(resolvConf(host, {}, false)).toBe('# comment\nnameserver 9.9.9.9\nsearch example.org\noptions ndots:1\n')
    expect(resolvConf(host, {}, true)).toContain('127.0.0.53')
    expect(resolvConf(host, { dns: ['1.1.1.1'], dnsSearch: ['in.example'] }, false)).toBe(
      '# comment\noptions ndots:1\nnameserver 1.1.1.1\nsearch in.example\n',
    )
  })
})
