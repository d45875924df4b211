import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { VMKitError } from '@vmkit/core'
import { describe, expect, it } from 'vitest'
import { execStream } from './exec.js'
import { killMarked } from './exec-kill.js'
import { type Machines, type Place, unaborted } from './machines.js'

/** A command whose streams end with these words, and of which the engine says these things, one after the other. */
function ended(words: string, ...says: { Running: boolean; ExitCode: number | null; Pid: number }[]) {
  const state = { Running: true, Restarting: false, Paused: false }
  const header = Buffer.from([1, 0, 0, 0, 0, 0, 0, words.length])
  const engine = {
    isLocal: false,
    json: async ({ method, path, signal }: { method: string; path: string; signal?: AbortSignal }) => {
      if (path.endsWith('/wait') && state.Running)
        return new Promise((_, reject) => signal?.addEventListener('abort', () => reject(new VMKitError('ABORTED', 'left'))))
      return method === 'GET' ? (says.length > 1 ? says.shift() : says[0]) : { Id: 'e' }
    },
    hijack: async () => new PassThrough().end(words === '' ? undefined : Buffer.concat([header, Buffer.from(words)])),
  }
  const machines = { at: async () => ({ engine, path: '/containers/x', id: 'x' }), inspect: async () => ({ State: state }) }
  return { state, start: () => execStream(machines as unknown as Machines, 'x', { command: ['true'] }, unaborted()) }
}

const NOT_STARTED = { Running: false, ExitCode: 126, Pid: 0 }

describe('the end of a command', () => {
  it('is told when the engine knows it, however late after its output', async () => {
    const busy = { Running: true, ExitCode: null, Pid: 7 }
    const { start } = ended('', ...Array(8).fill(busy), { Running: false, ExitCode: 3, Pid: 7 })
    expect(await (await start()).wait()).toEqual({ exitCode: 3, signal: null })
  })

  it('is 126 of one that cannot be run', async () => {
    const { start, state } = ended('OCI runtime exec failed: exec: "/etc/passwd": permission denied', NOT_STARTED)
    state.Running = false
    expect(await (await start()).wait()).toEqual({ exitCode: 126, signal: null })
  })

  it('is 126 of one that the engine cannot start, for a reason that is not its machine', async () => {
    const { start } = ended('OCI runtime exec failed: no space', NOT_STARTED)
    expect(await (await start()).wait()).toEqual({ exitCode: 126, signal: null })
  })

  it.each([
    ['ended', { Running: false }],
    ['was paused', { Paused: true }],
  ])('is INVALID_STATE of one whose machine %s before it had started', async (_what, changes) => {
    const { start, state } = ended('cannot exec in a stopped state: unknown', NOT_STARTED)
    Object.assign(state, changes)
    await expect((await start()).wait()).rejects.toMatchObject({
      code: 'INVALID_STATE',
      vmId: 'x',
      message: expect.stringContaining('cannot exec in a stopped state'),
    })
  })
})

it('a command that the engine forgot with its machine is over', async () => {
  const gone = new VMKitError('NOT_FOUND', 'No such exec instance: e')
  const engine = {
    isLocal: false,
    json: async ({ method }: { method: string }) => (method === 'GET' ? Promise.reject(gone) : { Id: 'e' }),
    hijack: async () => new PassThrough().end(),
  }
  const machines = { at: async () => ({ engine, path: '/containers/x', id: 'x' }) } as unknown as Machines
  const session = await execStream(machines, 'x', { command: ['true'] }, unaborted())
  await expect(session.wait()).rejects.toMatchObject({ code: 'NOT_FOUND' })
  await session.kill()
  await session[Symbol.asyncDispose]()
})

it('a command that was seen on this host is over when it is not seen any more, whatever the engine says', async () => {
  const place = { engine: { isLocal: true }, path: '/containers/x', id: 'x' } as unknown as Place
  const mark = crypto.randomUUID()
  const command = spawn('sleep', ['1000'], { env: { ...process.env, VMKIT_EXEC: mark }, stdio: 'ignore' })
  const ended = once(command, 'exit')
  await once(command, 'spawn')
  await killMarked(place, mark, 'SIGKILL', async () => false)
  expect(await ended).toEqual([null, 'SIGKILL'])
})

describe('killing a command inside of its machine', () => {
  /** Each look inside ends with the next of these codes: 0 when it found something to kill. */
  function inside(...codes: number[]) {
    let looks = 0
    const json = async ({ method, path }: { method: string; path: string }) => {
      if (path.endsWith('/exec')) looks += 1
      return method === 'GET' ? { Running: false, ExitCode: codes[looks - 1] ?? 1 } : { Id: 'k' }
    }
    const place = { engine: { isLocal: false, json }, path: '/containers/x', id: 'x' } as unknown as Place
    return { place, looks: () => looks }
  }

  it('goes on until nothing is left of it, also when a child was forked as its parent died', async () => {
    const { place, looks } = inside(0, 0, 1)
    let asked = 0
    await killMarked(place, 'mark', 'SIGKILL', async () => ++asked > 1)
    expect(looks()).toBe(3)
  })

  it('waits for one that has not begun', async () => {
    const { place, looks } = inside(1, 1, 0, 1)
    await killMarked(place, 'mark', 'SIGKILL', async () => looks() >= 3)
    expect(looks()).toBe(4)
  })

  it('sends another signal once', async () => {
    const { place, looks } = inside(0, 0)
    await killMarked(place, 'mark', 'SIGTERM', async () => false)
    expect(looks()).toBe(1)
  })
})
