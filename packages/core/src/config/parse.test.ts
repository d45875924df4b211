import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { VMKitError } from '../errors.js'
import { parseConfig } from './parse.js'
import type { VMConfig } from './types.js'

const parse = (config: unknown) => parseConfig(config as VMConfig)
const failure = (config: unknown): VMKitError => {
  try {
    parse(config)
  } catch (error) {
    if (error instanceof VMKitError) return error
    throw error
  }
  throw new Error('it was accepted')
}

describe('parseConfig', () => {
  it('fills in a random name and the defaults, and leaves out what was not given', () => {
    const { name, ...rest } = parse({})
    expect(name).toMatch(/^vm-[0-9a-f]{12}$/)
    expect(parse({}).name).not.toBe(name)
    expect(rest).toEqual({
      env: {},
      tty: false,
      stdin: false,
      mounts: [],
      volumes: [],
      ports: [],
      networks: [],
      devices: [],
      labels: {},
      stop: { graceMs: 10_000 },
      pull: 'missing',
      files: [],
      driverOptions: {},
    })
    expect(Object.keys(parse({ image: undefined }))).not.toContain('image')
  })

  it.each<[VMConfig, Record<string, unknown>]>([
    [{ memory: '512MiB' }, { memory: 536_870_912 }],
    [{ disk: { size: '1GB' } }, { disk: { size: 1e9 } }],
    [{ ttl: '5m' }, { ttl: 300_000 }],
    [{ cpus: 0.5 }, { cpus: 0.5 }],
    [{ stop: { graceMs: '2s' } }, { stop: { graceMs: 2000 } }],
    [{ stop: { signal: 'SIGRTMIN+3' } }, { stop: { signal: 'SIGRTMIN+3', graceMs: 10_000 } }],
    [{ ports: [{ guest: 80 }] }, { ports: [{ guest: 80, host: 0, hostIp: '127.0.0.1', protocol: 'tcp' }] }],
    [{ ports: [{ guest: 53, protocol: 'udp', hostIp: '::1' }] }, { ports: [{ guest: 53, host: 0, hostIp: '::1', protocol: 'udp' }] }],
    [{ mounts: [{ source: '/a', target: '/b' }] }, { mounts: [{ source: '/a', target: '/b', readOnly: false }] }],
    [{ volumes: [{ name: 'v', target: '/b', readOnly: true }] }, { volumes: [{ name: 'v', target: '/b', readOnly: true }] }],
    [
      { networks: ['n', { name: 'm', aliases: ['a'] }] },
      {
        networks: [
          { name: 'n', aliases: [] },
          { name: 'm', aliases: ['a'] },
        ],
      },
    ],
    [{ restart: 'always' }, { restart: { policy: 'always' } }],
    [{ restart: { policy: 'on-failure', maxRetries: 0 } }, { restart: { policy: 'on-failure', maxRetries: 0 } }],
    [{ files: [{ path: '/a', content: 'x' }] }, { files: [{ path: '/a', content: 'x', mode: 0o644 }] }],
    [{ files: [{ path: 'a', content: new Uint8Array([1]) }] }, { files: [{ path: 'a', content: new Uint8Array([1]), mode: 0o644 }] }],
    [{ devices: [{ type: 'gpu', count: 'all' }] }, { devices: [{ type: 'gpu', count: 'all' }] }],
    [{ devices: [{ type: 'pci', address: '0000:3b:00.0' }] }, { devices: [{ type: 'pci', address: '0000:3b:00.0' }] }],
    [
      { kernel: { path: '/k' }, disk: { image: 'd' } },
      { kernel: { path: '/k' }, disk: { image: 'd' } },
    ],
    [
      { image: 'nginx:1', disk: { size: 1 } },
      { image: 'nginx:1', disk: { size: 1 } },
    ],
    [{ env: { constructor: 'a', toString: 'b' } }, { env: { constructor: 'a', toString: 'b' } }],
    [{ user: '1000:grp' }, { user: '1000:grp' }],
    [{ driverOptions: { x: { y: 1 } } }, { driverOptions: { x: { y: 1 } } }],
  ])('%j', (config, parsed) => expect(parse(config)).toMatchObject(parsed))

  it.each<[unknown, string, string]>([
    [null, 'config', 'an object, got null'],
    [undefined, 'config', 'an object, got undefined'],
    ['secret', 'config', 'an object, got string'],
    [{ typo: 1 }, 'config.typo', 'no such field, got one'],
    [{ name: '-x' }, 'config.name', 'got "-x" (string)'],
    [{ name: 'x'.repeat(64) }, 'config.name', 'at most 63 long'],
    [{ name: '../x' }, 'config.name', 'a name of letters'],
    [{ name: 'a\n' }, 'config.name', 'a name of letters'],
    [{ image: '' }, 'config.image', 'an image reference'],
    [{ image: '--privileged' }, 'config.image', "not starting with '-'"],
    [{ image: 'a b' }, 'config.image', 'without spaces'],
    [{ rootfs: 'relative' }, 'config.rootfs', 'an absolute path'],
    [{ disk: { size: 0 } }, 'config.disk.size', 'got 0 (number)'],
    [{ disk: { sise: 1 } }, 'config.disk.sise', 'no such field'],
    [{ kernel: {} }, 'config.kernel.path', 'an absolute path, got nothing'],
    [{ command: [] }, 'config.command', 'a program and its arguments, got [] (array)'],
    [{ command: [''] }, 'config.command', 'a program'],
    [{ command: 'ls' }, 'config.command', 'an array, got "ls" (string)'],
    [{ command: ['a', 'b\0'] }, 'config.command.1', 'without NUL'],
    [{ args: [1] }, 'config.args.0', 'got 1 (number)'],
    [{ env: { 'TOKEN=hunter2': '' } }, 'config.env.TOKEN', 'a variable name'],
    [{ env: { A: 5 } }, 'config.env.A', 'got number'],
    [{ env: ['A=hunter2'] }, 'config.env', 'got array'],
    [{ workdir: 'x' }, 'config.workdir', 'an absolute path'],
    [{ user: '-u root' }, 'config.user', 'a user name'],
    [{ tty: 1 }, 'config.tty', 'a boolean, got 1 (number)'],
    [{ stdin: 'yes' }, 'config.stdin', 'a boolean'],
    [{ cpus: 0 }, 'config.cpus', 'above 0'],
    [{ cpus: Number.NaN }, 'config.cpus', 'got NaN (number)'],
    [{ memory: '1G' }, 'config.memory', "such as '512MiB'"],
    [{ pids: 1.5 }, 'config.pids', 'a whole number from 1'],
    [{ mounts: [{ source: 'a', target: '/b' }] }, 'config.mounts.0.source', 'an absolute path'],
    [{ volumes: [{ name: '/v', target: '/b' }] }, 'config.volumes.0.name', 'a name'],
    [{ ports: [{ guest: 0 }] }, 'config.ports.0.guest', 'a port from 1 to 65535, got 0 (number)'],
    [{ ports: [{ guest: 80, host: 65536 }] }, 'config.ports.0.host', 'to 65535'],
    [{ ports: [{ guest: 80, protocol: 'sctp' }] }, 'config.ports.0.protocol', 'one of "tcp", "udp"'],
    [{ ports: [{ guest: 80, hostIp: '127.0.0.1,x=y' }] }, 'config.ports.0.hostIp', 'an IP address'],
    [{ networks: [5] }, 'config.networks.0', 'a name'],
    [{ networks: [{ name: 'n', ip: 'x' }] }, 'config.networks.0.ip', 'an IP address'],
    [{ networks: [{ name: 'n', mac: 'x' }] }, 'config.networks.0.mac', 'a MAC address'],
    [{ devices: [{ type: 'foo' }] }, 'config.devices.0.type', 'one of "cdi"'],
    [{ devices: [{ type: 'host', path: 'x' }] }, 'config.devices.0.path', 'an absolute path'],
    [{ labels: { 'vmkit.x': 'y' } }, 'config.labels.vmkit.x', 'does not start with \'vmkit.\', got "vmkit.x" (string)'],
    [{ labels: { a: 1 } }, 'config.labels.a', 'got 1 (number)'],
    [{ restart: 'sometimes' }, 'config.restart', 'got "sometimes" (string)'],
    [{ restart: { policy: 'x' } }, 'config.restart.policy', 'one of'],
    [{ stop: { signal: 'TERM' } }, 'config.stop.signal', "such as 'SIGTERM'"],
    [{ stop: { graceMs: -1 } }, 'config.stop.graceMs', 'a number of milliseconds'],
    [{ pull: 'maybe' }, 'config.pull', 'one of "missing", "always", "never"'],
    [{ files: [{ path: '/a', content: 5 }] }, 'config.files.0.content', 'a text or a Uint8Array, got number'],
    [{ files: [{ path: '/a', content: '', mode: 0o10000 }] }, 'config.files.0.mode', 'permission bits'],
    [{ cloudInit: { userData: 5 } }, 'config.cloudInit.userData', 'got number'],
    [{ ttl: 'soon' }, 'config.ttl', 'a duration'],
    [{ driverOptions: 5 }, 'config.driverOptions', 'got number'],
    [{ image: 'a', rootfs: '/b' }, 'config.rootfs', 'at most one source, not image and rootfs together'],
    [{ rootfs: '/b', disk: { image: 'c' } }, 'config.disk', 'at most one source'],
    [JSON.parse('{"env":{"__proto__":"x"}}'), 'config.env', '`__proto__`'],
    [JSON.parse('{"labels":{"__proto__":"x"}}'), 'config.labels', '`__proto__`'],
    [JSON.parse('{"driverOptions":{"__proto__":{}}}'), 'config.driverOptions', '`__proto__`'],
    [JSON.parse('{"__proto__":{"image":"a"}}'), 'config.__proto__', 'no such field'],
  ])('refuses %j', (config, field, text) => {
    const error = failure(config)
    expect(error).toMatchObject({ code: 'INVALID_CONFIG', field })
    expect(error.message).toContain(text)
    expect(error.message.startsWith(`\`${field}\`: expected `)).toBe(true)
  })

  it('names every bad field at once', () => {
    expect(failure({ cpus: 0, pids: 0 }).issues?.map(({ path }) => path)).toEqual(['config.cpus', 'config.pids'])
  })

  it.each<[unknown, string | undefined]>([
    [{ memroy: '1GiB' }, 'Did you mean `config.memory`?'],
    [{ disk: { sise: 1 } }, 'Did you mean `config.disk.size`?'],
    [{ ports: [{ gest: 80 }] }, 'Did you mean `config.ports.0.guest`?'],
    [{ networks: ['a', { name: 'b', alias: [] }] }, 'Did you mean `config.networks.1.aliases`?'],
    [{ devices: [{ type: 'disk', path: '/x', readonly: true }] }, 'Did you mean `config.devices.0.readOnly`?'],
    [{ restart: { police: 'no' } }, 'Did you mean `config.restart.policy`?'],
    [{ cmd: [], imgae: 'a', labels: 5, port: [] }, 'Did you mean `config.image` and `config.ports`?'],
    [{ typo: 1 }, undefined],
    [{ cpus: 0 }, undefined],
  ])('asks what was meant by %j', (config, hint) => {
    expect(failure(config).hint).toBe(hint)
  })

  it.each<unknown>([
    { env: { A: 5, B: 'hunter2', 'C=hunter2': 'x' } },
    { env: ['A=hunter2'] },
    { env: 'hunter2' },
    { cloudInit: 'hunter2' },
    { cloudInit: { userData: ['hunter2'] } },
    { driverOptions: 'hunter2' },
    { driverOptions: ['hunter2'] },
    { files: 'hunter2' },
    { files: ['hunter2'] },
    { files: { content: 'hunter2' } },
    { files: [{ path: 5, content: ['hunter2'] }] },
    ['hunter2'],
    'hunter2',
    { image: { env: 'hunter2' } },
  ])('never shows a secret %#', (config) => {
    const error = failure(config)
    expect(`${error.message} ${JSON.stringify(error)}`).not.toContain('hunter2')
  })

  it('reads a value once, so that it cannot change its mind', () => {
    let reads = 0
    const config = Object.defineProperty({}, 'cpus', { enumerable: true, get: () => (reads += 1) })
    expect(parse(config).cpus).toBe(1)
    expect(reads).toBe(1)
  })

  it('refuses values that throw when they are read', () => {
    const throwing = (key: string): object =>
      Object.defineProperty({}, key, {
        enumerable: true,
        get() {
          throw new Error('no')
        },
      })
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    for (const config of [
      throwing('cpus'),
      { kernel: throwing('path') },
      { env: throwing('A') },
      proxy,
      { env: proxy },
      { ports: [proxy] },
    ]) {
      expect(failure(config)).toMatchObject({ code: 'INVALID_CONFIG' })
    }
  })

  it('does not share what it returns with the caller, nor with the next call', () => {
    const command = ['a']
    const parsed = parse({ command })
    command.push('b')
    expect(parsed.command).toEqual(['a'])
    parse({}).env.LEAK = 'x'
    parse({}).stop.graceMs = 1
    expect(parse({})).toMatchObject({ env: {}, stop: { graceMs: 10_000 } })
  })
})

const nearValid = fc.record(
  {
    name: fc.oneof(fc.stringMatching(/^[a-z0-9][a-z0-9_.-]{0,10}$/), fc.string()),
    image: fc.oneof(fc.constant('nginx:1'), fc.string()),
    disk: fc.record({ size: fc.oneof(fc.nat(), fc.constantFrom('1GiB', '5', '')) }, { requiredKeys: [] }),
    command: fc.array(fc.string()),
    env: fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.anything())),
    labels: fc.dictionary(fc.string(), fc.string()),
    cpus: fc.oneof(fc.double(), fc.integer()),
    memory: fc.oneof(fc.nat(), fc.string(), fc.constantFrom('512MiB', '1.5GB')),
    pids: fc.oneof(fc.nat(), fc.double()),
    mounts: fc.array(fc.record({ source: fc.constantFrom('/a', 'b'), target: fc.constant('/c') })),
    ports: fc.array(
      fc.record({ guest: fc.integer({ min: -1, max: 65536 }), protocol: fc.constantFrom('tcp', 'udp', 'x') }, { requiredKeys: ['guest'] }),
    ),
    networks: fc.array(fc.oneof(fc.constantFrom('a', '-'), fc.record({ name: fc.constant('n') }))),
    restart: fc.oneof(fc.constantFrom('always', 'no', 'x'), fc.record({ policy: fc.constantFrom('always', 'y') })),
    stop: fc.record({ graceMs: fc.oneof(fc.integer(), fc.constantFrom('1s', 'x')) }, { requiredKeys: [] }),
    files: fc.array(fc.record({ path: fc.string(), content: fc.oneof(fc.string(), fc.uint8Array()) })),
    ttl: fc.oneof(fc.nat(), fc.constant('1d')),
    driverOptions: fc.dictionary(fc.string(), fc.anything()),
  },
  { requiredKeys: [] },
)

describe('for any input', () => {
  const outcome = (config: unknown): unknown => {
    try {
      return parse(config)
    } catch (error) {
      if (!(error instanceof VMKitError)) throw error
      expect(error.code).toBe('INVALID_CONFIG')
      expect(error.issues?.length).toBeGreaterThan(0)
      for (const { path, expected, received } of error.issues ?? []) {
        expect(path.startsWith('config')).toBe(true)
        expect(expected).not.toBe('')
        expect(expected).not.toBe('a valid value')
        expect(received).not.toBe('')
      }
      return undefined
    }
  }

  it('is a config, or a typed error that names field, expectation and value', () => {
    const anything = fc.anything({
      withBigInt: true,
      withDate: true,
      withMap: true,
      withSet: true,
      withNullPrototype: true,
      withTypedArray: true,
    })
    fc.assert(
      fc.property(
        fc.oneof(anything, fc.dictionary(fc.constantFrom(...Object.keys(parse({})), 'image', 'disk', 'memory', 'restart'), anything)),
        (config) => {
          outcome(config)
        },
      ),
      { numRuns: 500 },
    )
  })

  it('is parsed to what parses to itself', () => {
    fc.assert(
      fc.property(nearValid, (config) => {
        const parsed = outcome(config)
        if (parsed !== undefined) expect(parse(parsed)).toEqual(parsed)
      }),
      { numRuns: 500 },
    )
  })
})
