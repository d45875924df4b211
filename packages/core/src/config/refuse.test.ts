import { describe, expect, it } from 'vitest'
import { VMKitError } from '../errors.js'
import { parseGiven } from './parse.js'
import { refusedField } from './refuse.js'
import type { ConfigField, VMConfig } from './types.js'

const every: Required<Pick<VMConfig, ConfigField>> = {
  name: 'n',
  image: 'i',
  rootfs: '/r',
  disk: { size: 1 },
  kernel: { path: '/k' },
  command: ['c'],
  args: ['a'],
  env: { A: 'b' },
  workdir: '/w',
  user: 'u',
  tty: true,
  stdin: true,
  cpus: 1,
  memory: 1,
  pids: 1,
  mounts: [{ source: '/a', target: '/b' }],
  volumes: [{ name: 'v', target: '/b' }],
  ports: [{ guest: 1 }],
  networks: ['n'],
  devices: [{ type: 'gpu' }],
  labels: { a: 'b' },
  restart: 'no',
  stop: { signal: 'SIGINT' },
  pull: 'never',
  files: [{ path: 'a', content: '' }],
  cloudInit: { userData: '' },
  ttl: 1,
  driverOptions: { subject: { option: 1 } },
}

function refused(config: VMConfig, fields: readonly ConfigField[] = []): string | undefined {
  const { given, parsed } = parseGiven(config)
  return refusedField(
    given,
    parsed,
    { fields, name: 'subject' },
    (capability, field) => new VMKitError('UNSUPPORTED', `${field} ${capability}`),
  )?.message
}

describe('refusedField', () => {
  it.each(Object.keys(every) as ConfigField[])('%s is honoured, universal, or refused', (field) => {
    const config = { [field]: every[field] }
    const universal = ['name', 'labels', 'ttl'].includes(field)
    if (universal) expect(refused(config)).toBeUndefined()
    else expect(refused(config)).toContain(field)
    expect(refused(config, [field])).toBeUndefined()
  })

  it.each<VMConfig>([{}, { tty: false }, { stdin: false }, { ports: [] }, { env: {} }, { mounts: [] }, { image: undefined }])(
    '%j asks for nothing',
    (config) => expect(refused(config)).toBeUndefined(),
  )

  it('names the capability that a field needs', () => {
    expect(refused({ ports: [{ guest: 1 }] })).toBe('ports ports')
    expect(refused({ memory: 1 })).toBe('memory limits.memory')
    expect(refused({ workdir: '/x' })).toBe('workdir undefined')
  })

  it('refuses options meant for a driver that takes none, and leaves those of others alone', () => {
    expect(refused({ driverOptions: { subject: { odd: 1 } } })).toBe('driverOptions.subject.odd undefined')
    expect(refused({ driverOptions: { subject: 5 } })).toBe('driverOptions.subject undefined')
    expect(refused({ driverOptions: { subject: {} } })).toBeUndefined()
    expect(refused({ driverOptions: { other: { odd: 1 } } })).toBeUndefined()
  })
})
