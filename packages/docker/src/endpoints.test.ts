import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { candidateEndpoints } from './endpoints.js'
import { sshArguments } from './ssh.js'

let home: string
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'vmkit-docker-'))
})
afterEach(() => rmSync(home, { recursive: true }))

function writeContext(name: string, host: string): void {
  const folder = join(home, '.docker/contexts/meta', createHash('sha256').update(name).digest('hex'))
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'meta.json'), JSON.stringify({ Name: name, Endpoints: { docker: { Host: host } } }))
}

const targets = (...args: Parameters<typeof candidateEndpoints>) => candidateEndpoints(...args).map(({ target }) => target)

describe('endpoints', () => {
  it('an option is the only candidate', () => {
    expect(targets({ socketPath: '/a.sock' }, { DOCKER_HOST: 'tcp://b:1' })).toEqual(['unix:///a.sock'])
    expect(targets({ host: 'tcp://c:2375' }, {})).toEqual(['tcp://c:2375'])
  })

  it('then DOCKER_HOST, with the certificates of DOCKER_CERT_PATH', () => {
    writeFileSync(join(home, 'ca.pem'), '')
    const [endpoint] = candidateEndpoints({}, { DOCKER_HOST: 'tcp://b:2376', DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: home })
    expect(endpoint).toMatchObject({ target: 'tcp://b:2376', tls: { ca: join(home, 'ca.pem'), cert: undefined, verify: true } })
  })

  it('then the current context of the Docker config folder', () => {
    writeContext('remote', 'ssh://me@far')
    writeFileSync(join(home, '.docker/config.json'), JSON.stringify({ currentContext: 'remote' }))
    expect(targets({}, { HOME: home })).toEqual(['ssh://me@far'])
    expect(() => targets({ context: 'other' }, { HOME: home })).toThrow(
      expect.objectContaining({ code: 'INVALID_CONFIG', field: 'context' }),
    )
  })

  it('a context with TLS brings its certificates, and says whether they count', () => {
    writeContext('secure', 'tcp://far:2376')
    const folder = join(home, '.docker/contexts/tls', createHash('sha256').update('secure').digest('hex'), 'docker')
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'ca.pem'), '')
    expect(candidateEndpoints({ context: 'secure' }, { HOME: home })).toMatchObject([
      { target: 'tcp://far:2376', tls: { ca: join(folder, 'ca.pem'), key: undefined, verify: true } },
    ])
  })

  it('ssh is called without questions, and nothing of an address is an option of it', () => {
    expect(sshArguments({ host: '-oProxyCommand=x', user: 'me', port: '2222', config: '/c' })).toEqual([
      ...['-T', '-o', 'BatchMode=yes', '-o', 'ConnectTimeout=30', '-F', '/c', '-l', 'me', '-p', '2222'],
      ...['--', '-oProxyCommand=x', 'docker', 'system', 'dial-stdio'],
    ])
  })

  it('then the sockets of Docker, rootless Docker and Podman', () => {
    expect(targets({}, { HOME: home, XDG_RUNTIME_DIR: '/run/user/7' })).toEqual([
      'unix:///var/run/docker.sock',
      'unix:///run/user/7/docker.sock',
      `unix://${home}/.docker/run/docker.sock`,
      'unix:///run/podman/podman.sock',
      'unix:///run/user/7/podman/podman.sock',
    ])
  })

  it('refuses what is no endpoint', () => {
    expect(() => targets({ host: 'ftp://x' }, {})).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }))
  })
})
