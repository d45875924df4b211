/** Memory snapshots: what CRIU and the engine really give, and the reasons where they do not. */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { VM } from '@vmkit/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { criuProblem } from '../src/criu.js'
import { raw } from './engine.js'
import { type DockerManager, idle, managerOf, prepare, requireEngine, socketPath, why } from './support.js'

const lacks = requireEngine() ? await reasonOfEngine() : undefined
if (lacks !== undefined && process.env.VMKIT_REQUIRE_BACKENDS === '1') throw new Error(`no memory snapshots: ${lacks}`)
const whyNot = lacks === undefined ? why : ` (not run: ${lacks})`

const counter = (changes: Parameters<typeof idle>[0] = {}) =>
  idle({ command: ['sh', '-c', 'i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.05; done'], ...changes })

describe.skipIf(why !== '' || lacks !== undefined)(`memory snapshots${whyNot}`, () => {
  let manager: DockerManager
  beforeAll(async () => {
    await prepare()
    manager = managerOf()
  })
  afterAll(() => manager.close())
  const handle = () => manager.driver('docker')

  it.each([
    ['alone', {}],
    ['on a terminal', { tty: true }],
    ['with a stdin', { stdin: true }],
    ['with a port, limits, a volume and a restart policy', everything()],
  ])('a counter goes on from where it was saved: %s', async (_what, changes) => {
    await using vm = await handle().create(counter(changes))
    await vm.start()
    await vm.waitFor({ log: 'tick 3' })
    if (!vm.supports('snapshot.memory')) throw new Error(vm.missing['snapshot.memory'])
    const saved = await vm.snapshot('here', { memory: true })
    expect(saved).toMatchObject({ tag: 'here', memory: true })
    expect((await vm.status()).state).toBe('running')
    const atSave = await lastTick(vm)
    await vm.waitFor({ log: `tick ${atSave + 5}` })
    const { id } = vm
    for (let round = 0; round < 2; round += 1) {
      await vm.stop({ graceMs: 0 })
      const before = await ticks(vm)
      await vm.restore('here')
      expect(vm.id).toBe(id)
      expect((await vm.status()).state).toBe('running')
      await vm.waitFor({ exec: ['true'] })
      const first = await firstAfter(vm, before.length)
      expect(first).toBeGreaterThan(3)
      expect(first).toBeLessThanOrEqual(atSave + 1)
    }
    await vm.delete({ force: true })
    for (const { name } of await handle().volumes.list()) if (name === 'vmkit-test-memory') await handle().volumes.remove(name)
  })

  it('lists both kinds under one set of tags, and deletes them', async () => {
    await using vm = await handle().create(counter())
    await vm.start()
    if (!vm.supports('snapshot.memory')) throw new Error(vm.missing['snapshot.memory'])
    await vm.snapshot('disk')
    await vm.snapshot('a.b_c-d', { memory: true })
    await expect(vm.snapshot('disk', { memory: true })).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    await expect(vm.snapshot('a.b_c-d')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    await expect(vm.snapshot('a/../b', { memory: true })).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
    expect((await vm.snapshots()).map(({ tag, memory }) => [tag, memory])).toEqual([
      ['disk', false],
      ['a.b_c-d', true],
    ])
    await expect(vm.clone('a.b_c-d')).rejects.toMatchObject({ code: 'UNSUPPORTED', capability: 'clone.memory' })
    await expect(vm.restore('disk')).rejects.toMatchObject({ code: 'CONFLICT', hint: expect.stringContaining('a.b_c-d') })
    expect((await vm.status()).state).toBe('running')
    await vm.deleteSnapshot('a.b_c-d')
    await expect(vm.restore('a.b_c-d')).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await vm.restore('disk')
    expect((await vm.snapshots()).map(({ tag }) => tag)).toEqual(['disk'])
  })

  it('a checkpoint that somebody else made is not listed', async () => {
    await using vm = await handle().create(counter())
    await vm.start()
    const answer = await raw(socketPath as string, 'POST', `/containers/${vm.id}/checkpoints`, { CheckpointID: 'theirs', Exit: false })
    expect(answer.status).toBe(201)
    expect(await vm.snapshots()).toEqual([])
    await expect(vm.restore('theirs')).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  it('one that does not run has no memory, and a paused one is restored running', async () => {
    await using vm = await handle().create(counter())
    if (!vm.supports('snapshot.memory')) throw new Error(vm.missing['snapshot.memory'])
    await expect(vm.snapshot('none', { memory: true })).rejects.toMatchObject({ code: 'INVALID_STATE' })
    expect(await vm.snapshots()).toEqual([])
    await vm.start()
    if (!vm.supports('pause')) throw new Error(vm.missing.pause)
    await vm.pause()
    await vm.snapshot('paused', { memory: true })
    expect((await vm.status()).state).toBe('paused')
    await vm.restore('paused')
    expect((await vm.status()).state).toBe('running')
  })

  it('a machine with an init says that it cannot', async () => {
    await using vm = await handle().create(counter({ driverOptions: { docker: { init: true } } }))
    expect(vm.supports('snapshot.memory')).toBe(false)
    expect(vm.missing['snapshot.memory']).toMatch(/init/)
    expect((await handle().get(vm.id)).supports('snapshot.memory')).toBe(false)
    await vm.start()
    const forced = vm as unknown as { snapshot(tag: string, options: { memory: boolean }): Promise<unknown> }
    await expect(forced.snapshot('x', { memory: true })).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      capability: 'snapshot.memory',
    })
  })

  it('an open file that has changed since is an error in the words of the engine, and the machine is stopped', async () => {
    const command = ['sh', '-c', 'exec 3>/tmp/out; while :; do echo x >&3; sleep 0.02; done']
    await using vm = await handle().create(idle({ command }))
    await vm.start()
    if (!vm.supports('snapshot.memory')) throw new Error(vm.missing['snapshot.memory'])
    await vm.waitFor({ exec: ['test', '-s', '/tmp/out'] })
    await vm.snapshot('open', { memory: true })
    const size = (await vm.files.readText('/tmp/out')).length
    await vm.waitFor({ exec: ['sh', '-c', `[ $(wc -c < /tmp/out) -gt ${size} ]`] })
    await expect(vm.restore('open')).rejects.toMatchObject({
      code: 'BACKEND_ERROR',
      message: expect.stringMatching(/cannot be restored: .*criu/i),
      hint: expect.stringContaining('must not have changed'),
    })
    expect((await vm.status()).state).toBe('stopped')
  })

  it('comes right after another one', async () => {
    await using vm = await handle().create(counter())
    await vm.start()
    if (!vm.supports('snapshot.memory')) throw new Error(vm.missing['snapshot.memory'])
    const tags = Array.from({ length: 8 }, (_none, index) => `m${index}`)
    for (const tag of tags) await vm.snapshot(tag, { memory: true })
    expect((await vm.snapshots()).map(({ tag }) => tag)).toEqual(tags)
    expect((await vm.status()).state).toBe('running')
  })

  it('an aborted one leaves nothing', async () => {
    await using vm = await handle().create(counter())
    await vm.start()
    if (!vm.supports('snapshot.memory')) throw new Error(vm.missing['snapshot.memory'])
    await expect(vm.snapshot('late', { memory: true, signal: AbortSignal.timeout(20) })).rejects.toMatchObject({
      code: expect.stringMatching(/ABORTED|TIMEOUT/),
    })
    // The engine does one thing at a time for a container, so this comes after what was aborted.
    await vm.snapshot('next', { memory: true })
    await vm.waitFor({ until: async () => (await vm.snapshots()).map(({ tag }) => tag).join() === 'next' })
  })
})

describe('what the probe says of CRIU', () => {
  it('nothing of a socket that no dockerd of this host has', async () => {
    expect(await criuProblem('/nonexistent/docker.sock')).toBeUndefined()
  })

  // A process that looks like dockerd from outside: its name, its socket and its PATH.
  it.skipIf(process.geteuid?.() !== 0)('that it is missing, or what it says when it does not work (needs root)', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'vmkit-docker-test-'))
    const { spawn } = await import('node:child_process')
    const { createInterface } = await import('node:readline')
    const script = `process.title='dockerd';require('node:net').createServer().listen(process.argv[1],()=>console.log('ready'))`
    const socket = join(folder, 'd.sock')
    const pretender = spawn(process.execPath, ['-e', script, socket], { env: { PATH: folder }, stdio: ['ignore', 'pipe', 'inherit'] })
    try {
      for await (const _line of createInterface(pretender.stdout)) break
      expect(await criuProblem(socket)).toBe('CRIU is not on the PATH of dockerd')
      const criu = join(folder, 'criu')
      await writeFile(criu, '#!/bin/sh\necho "Error (criu/vdso.c:381): vdso: too new" >&2\nexit 1\n')
      await chmod(criu, 0o755)
      expect(await criuProblem(socket)).toMatch(/may be too old: `.*criu check` says Error \(criu\/vdso\.c:381\): vdso: too new/)
      await writeFile(criu, '#!/bin/sh\nexit 0\n')
      expect(await criuProblem(socket)).toBeUndefined()
    } finally {
      pretender.kill()
      await rm(folder, { recursive: true })
    }
  })
})

function everything(): Parameters<typeof idle>[0] {
  return {
    ports: [{ guest: 80 }],
    memory: '64MiB',
    pids: 50,
    volumes: [{ name: 'vmkit-test-memory', target: '/v' }],
    restart: 'always',
  }
}

async function reasonOfEngine(): Promise<string | undefined> {
  const manager = managerOf()
  const { missing } = await manager.driver('docker').probe()
  await manager.close()
  return missing['snapshot.memory']
}

async function ticks(vm: Pick<VM, 'id'> & { logs(): AsyncIterable<{ text: string }> }): Promise<number[]> {
  const found: number[] = []
  for await (const { text } of vm.logs()) if (text.startsWith('tick ')) found.push(Number(text.slice('tick '.length)))
  return found
}

async function lastTick(vm: Parameters<typeof ticks>[0]): Promise<number> {
  return (await ticks(vm)).at(-1) ?? 0
}

/** The first number that the restored program wrote. */
async function firstAfter(vm: Parameters<typeof ticks>[0] & Pick<VM, 'waitFor'>, count: number): Promise<number> {
  let first: number | undefined
  await vm.waitFor({
    until: async () => {
      first = (await ticks(vm))[count]
      return first !== undefined
    },
  })
  return first as number
}
