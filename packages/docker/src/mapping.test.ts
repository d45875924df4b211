import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { parseConfig } from '@vmkit/core'
import { describe, expect, it } from 'vitest'
import { engineError, transportError } from './errors.js'
import { splitReference } from './images.js'
import { exitFrom, exitOf, stateOf } from './inspect.js'
import { configOf, isMachine, machineLabels, publicLabels } from './labels.js'
import { authHeader, registryOf } from './registry-auth.js'
import type { ContainerState } from './wire.js'

const NEVER = '0001-01-01T00:00:00Z'
const state = (changes: Partial<ContainerState>): ContainerState => ({
  Status: 'exited',
  Running: false,
  Paused: false,
  Restarting: false,
  OOMKilled: false,
  Dead: false,
  Pid: 0,
  ExitCode: 0,
  Error: '',
  StartedAt: '2026-11-21T21:00:00Z',
  FinishedAt: '2026-11-21T21:00:01Z',
  ...changes,
})

describe('states and exits', () => {
  it('a container whose start failed is as it was before', () => {
    expect(stateOf(state({ Status: 'created', StartedAt: NEVER, FinishedAt: NEVER, ExitCode: 127, Error: 'no such file' }))).toEqual({
      state: 'created',
      reason: 'no such file',
    })
    expect(exitOf(state({ Status: 'created', StartedAt: NEVER, FinishedAt: NEVER }))).toBeUndefined()
  })

  it('never derives a signal from a code', () => {
    expect(exitFrom(137, false, 1)).toEqual({ code: 137, signal: null, oom: false, reason: 'unknown', at: 1 })
    expect(exitFrom(137, true, 1)).toMatchObject({ oom: true, reason: 'oom' })
    expect(exitFrom(3, false, 1)).toMatchObject({ code: 3, reason: 'exited' })
  })
})

describe('labels', () => {
  const config = parseConfig({ name: 'web', image: 'app', labels: { team: 'a' }, files: [{ path: '/x', content: 'secret' }] })
  const labels = machineLabels(config, 'uid')

  it('give the config back, without the contents of files', () => {
    expect(isMachine(labels)).toBe(true)
    expect(configOf(labels, `/${config.name}`)).toEqual({ ...config, files: [] })
    expect(publicLabels(labels)).toEqual({ team: 'a' })
  })

  it('that somebody broke are no config', () => {
    expect(configOf({ ...labels, 'vmkit.config': '{' }, '/web')).toBeUndefined()
  })
})

describe('errors', () => {
  const rows: [number | undefined, string, string][] = [
    [404, 'No such container: x', 'NOT_FOUND'],
    [404, 'No such image: app:latest', 'IMAGE_NOT_FOUND'],
    [409, 'Conflict. The container name "/a" is already in use by container "b".', 'ALREADY_EXISTS'],
    [409, 'Container x is not running', 'INVALID_STATE'],
    [500, 'driver failed programming external connectivity: Bind for 127.0.0.1:80 failed: port is already allocated', 'CONFLICT'],
    [400, 'invalid mount config for type "bind": bind source path does not exist: /x', 'INVALID_CONFIG'],
    [500, 'write /x: no space left on device', 'RESOURCE_EXHAUSTED'],
    [500, 'Head "http://r/v2/a/manifests/1": no basic auth credentials', 'PERMISSION_DENIED'],
    [undefined, 'manifest for r/a:1 not found: manifest unknown', 'IMAGE_NOT_FOUND'],
    [418, 'teapot', 'BACKEND_ERROR'],
  ]
  it.each(rows)('%s %s', (status, words, code) => {
    expect(engineError(status, words)).toMatchObject({ code, message: words })
  })

  it('tell an engine that is gone from one that may not be used', () => {
    expect(transportError(Object.assign(new Error('connect ENOENT'), { code: 'ENOENT' }), 'unix:///x')).toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
      retryable: true,
    })
    expect(transportError(Object.assign(new Error('connect EACCES'), { code: 'EACCES' }), 'unix:///x')).toMatchObject({
      code: 'PERMISSION_DENIED',
    })
  })
})

describe('references', () => {
  it.each([
    ['app', 'app', 'latest'],
    ['host:5000/app', 'host:5000/app', 'latest'],
    ['host:5000/a/b:1.2', 'host:5000/a/b', '1.2'],
    ['app@sha256:00', 'app', 'sha256:00'],
  ])('%s is %s and %s', (reference, repo, tag) => {
    expect(splitReference(reference)).toEqual({ repo, tag })
  })

  it.each([
    ['app', 'docker.io'],
    ['team/app', 'docker.io'],
    ['localhost/app', 'localhost'],
    ['r.example:5000/app', 'r.example:5000'],
  ])('%s comes from %s', (reference, registry) => expect(registryOf(reference)).toBe(registry))

  it('take credentials of the call before those of the options, and none where there are none', async () => {
    const registries = { 'r.example': { username: 'u', password: 'p' } }
    const decoded = async (auth?: { username: string; password: string }) =>
      JSON.parse(
        Buffer.from((await authHeader('r.example/app', auth, registries, { HOME: '/nonexistent' })) ?? '', 'base64url').toString(),
      ) as { username: string }
    expect((await decoded()).username).toBe('u')
    expect((await decoded({ username: 'other', password: 'x' })).username).toBe('other')
    expect(await authHeader('app', undefined, registries, { HOME: '/nonexistent' })).toBeUndefined()
  })

  it('refuse a Docker config file that is no JSON, and repeat nothing of it', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vmkit-docker-config-'))
    writeFileSync(join(folder, 'config.json'), '{ "auths": { "r.example": { "auth": c2VjcmV0 } } }')
    const error = await authHeader('r.example/app', undefined, undefined, { DOCKER_CONFIG: folder }).catch((cause: unknown) => cause)
    rmSync(folder, { recursive: true })
    expect(error).toMatchObject({ code: 'INVALID_CONFIG', driver: 'docker', operation: 'pull' })
    expect(inspect(error, { depth: 10 })).not.toContain('c2Vj')
  })
})
