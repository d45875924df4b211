import { parseConfig, VMKitError } from '@vmkit/core'
import { describe, expect, it, vi } from 'vitest'
import { withField } from './fields.js'

const config = parseConfig({
  name: 'web',
  image: 'app',
  command: ['/bin/serve'],
  user: 'web',
  memory: 4096,
  cpus: 4096,
  ports: [{ guest: 1 }, { guest: 80, host: 8080 }, { guest: 80, host: 80 }, { guest: 53, host: 80, hostIp: '127.0.0.2' }],
  mounts: [
    { source: '/a', target: '/' },
    { source: '/with space', target: '/data' },
  ],
  volumes: [{ name: 'kept', target: '/data' }],
  networks: [{ name: 'own', ip: '10.0.0.2' }],
  devices: [{ type: 'gpu' }, { type: 'host', path: '/dev/nosuch' }],
  driverOptions: { docker: { runtime: 'nosuch' } },
})
const bare = parseConfig({ image: 'app', ports: [{ guest: 1 }] })

async function fieldOf(words: string, of = config): Promise<string | undefined> {
  return ((await withField(new VMKitError('BACKEND_ERROR', words), () => of)) as VMKitError).field
}

describe('the words of the engine name', () => {
  it.each([
    ['Conflict. The container name "/web" is already in use by container "b". You have to remove', 'config.name'],
    [
      'driver failed programming external connectivity on endpoint web: Bind for 127.0.0.1:80 failed: port is already allocated',
      'config.ports.2.host',
    ],
    ['Error starting userland proxy: listen tcp4 127.0.0.1:8080: bind: address already in use', 'config.ports.1.host'],
    ['failed to bind host port for 127.0.0.2:80:172.17.0.2:53/tcp: address already in use', 'config.ports.3.host'],
    ['cannot listen on the TCP port: listen tcp4 :8080: bind: address already in use', 'config.ports.1.host'],
    ['Address already in use', 'config.networks.0.ip'],
    ['invalid reference format', 'config.image'],
    ['invalid mount config for type "bind": bind source path does not exist: /with space', 'config.mounts.1.source'],
    ["invalid mount config for type \"bind\": invalid specification: destination can't be '/'", 'config.mounts.0.target'],
    ['Duplicate mount point: /data', 'config.volumes.0.target'],
    ['Minimum memory limit allowed is 6MB', 'config.memory'],
    ['range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available', 'config.cpus'],
    ['unable to find user web: no matching entries in passwd file', 'config.user'],
    ['exec: "/bin/serve": stat /bin/serve: no such file or directory: unknown', 'config.command.0'],
    ['error gathering device information while adding custom device "/dev/nosuch": no such file or directory', 'config.devices.1.path'],
    ['could not select device driver "" with capabilities: [[gpu]]', 'config.devices.0'],
    ['Unknown runtime specified nosuch', 'config.driverOptions.docker.runtime'],
    ['unknown or invalid runtime name: nosuch', 'config.driverOptions.docker.runtime'],
    ['teapot', undefined],
    // Of an option that was not given.
    ['Decoding seccomp profile failed', undefined],
  ])('%s', async (words, field) => expect(await fieldOf(words)).toBe(field))

  it.each([
    ['listen tcp4 0.0.0.0:49153: bind: address already in use', 'config.ports'],
    ['exec: "/entrypoint": stat /entrypoint: no such file or directory: unknown', undefined],
    ['unable to find user app: no matching entries in passwd file', undefined],
    ['Minimum memory limit allowed is 6MB', undefined],
  ])('no more than the config has: %s', async (words, field) => expect(await fieldOf(words, bare)).toBe(field))
})

it('a field that is named stays, and the config is asked for only when the words are about one', async () => {
  const asked = vi.fn(() => config)
  const named = new VMKitError('NOT_FOUND', 'port is already allocated', { field: 'config.networks.0' })
  for (const error of [named, new VMKitError('NOT_FOUND', 'No such container: x'), new Error('port is already allocated'), 5]) {
    expect(await withField(error, asked)).toBe(error)
  }
  expect(asked).not.toHaveBeenCalled()
  const gone = new VMKitError('CONFLICT', 'port is already allocated')
  expect(await withField(gone, async () => undefined)).toBe(gone)
})
