import { afterEach, describe, expect, it, vi } from 'vitest'
import { fakeDriver, fakeSession } from '../../test/fake-driver.js'
import type { VMDriver } from '../driver.js'
import { createManager } from './manager.js'
import type { VM } from './vm-types.js'

async function running(overrides: Partial<VMDriver> = {}, probe = {}): Promise<VM> {
  const manager = createManager({ drivers: { fake: fakeDriver({ overrides, probe }) } })
  const vm = (await manager.create({}, { driver: 'fake' })) as unknown as VM
  await vm.start()
  return vm
}
const execOf = (vm: VM) =>
  (vm as VM & { exec: (command: string[], options?: object) => Promise<import('../machine.js').ExecResult> }).exec.bind(vm)

afterEach(() => void vi.useRealTimers())

describe('exec', () => {
  it('collects both streams and the exit', async () => {
    const exec = execOf(await running())
    expect(await exec(['echo', 'a', 'b'])).toMatchObject({
      exitCode: 0,
      signal: null,
      stdout: 'a b',
      stderr: '',
      timedOut: false,
      truncated: false,
    })
    expect(await exec(['exit', '3'])).toMatchObject({ exitCode: 3 })
  })

  it('keeps the first bytes of each stream, and says that there were more', async () => {
    const exec = execOf(await running())
    const result = await exec(['spam', '100'], { maxOutputBytes: 10 })
    expect(result).toMatchObject({ stdout: 'o'.repeat(10), stderr: 'e'.repeat(10), truncated: true })
    expect(result.stdoutBytes).toHaveLength(10)
    expect(await exec(['spam', '10'], { maxOutputBytes: 10 })).toMatchObject({ truncated: false })
  })

  it.each<[string, unknown]>([
    ['text', 'héllo'],
    ['bytes', Buffer.from('héllo')],
    [
      'a stream of both',
      (async function* () {
        yield Buffer.from('hé')
        yield 'llo'
      })(),
    ],
  ])('feeds stdin from %s', async (_kind, stdin) => {
    expect((await execOf(await running())(['cat'], { stdin })).stdout).toBe('héllo')
  })

  it('does not wait for an input that the command does not read', async () => {
    let returned = false
    const endless = {
      [Symbol.asyncIterator]: () => ({
        next: () => Promise.resolve({ done: false, value: Buffer.from('x') }),
        return: async () => {
          returned = true
          return { done: true as const, value: undefined }
        },
      }),
    }
    expect(await execOf(await running())(['deaf'], { stdin: endless })).toMatchObject({ exitCode: 0 })
    await vi.waitFor(() => expect(returned).toBe(true))
  })

  it('does not wait for an input that never comes', async () => {
    const silent = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) }
    expect(await execOf(await running())(['exit', '0'], { stdin: silent })).toMatchObject({ exitCode: 0 })
  })

  it('kills the command when reading its input fails', async () => {
    const exec = execOf(await running())
    const broken = (async function* () {
      yield Buffer.from('a')
      throw new Error('source')
    })()
    await expect(exec(['cat'], { stdin: broken })).rejects.toMatchObject({ code: 'ABORTED', message: expect.stringContaining('source') })
    const wrong = (async function* () {
      yield 5
    })()
    await expect(exec(['cat'], { stdin: wrong })).rejects.toMatchObject({ code: 'ABORTED', cause: { code: 'INVALID_CONFIG' } })
  })

  it('kills on timeout, and says so in the result', async () => {
    const vm = await running()
    vi.useFakeTimers()
    const result = execOf(vm)(['sleep'], { timeoutMs: 500 })
    await vi.advanceTimersByTimeAsync(500)
    expect(await result).toMatchObject({ timedOut: true, exitCode: null, signal: 'SIGKILL' })
    expect(vi.getTimerCount()).toBe(0)
  })

  it('refuses a timeout where commands cannot be killed', async () => {
    const vm = await running({}, { missing: { 'exec.kill': 'no way in' } })
    await expect(execOf(vm)(['sleep'], { timeoutMs: 500 })).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      capability: 'exec.kill',
      field: 'timeoutMs',
    })
  })

  it('kills on abort, and disposes of the session', async () => {
    const session = fakeSession(['sleep'])
    const vm = await running({ execStream: async () => session })
    const controller = new AbortController()
    const result = execOf(vm)(['sleep'], { signal: controller.signal })
    setImmediate(() => controller.abort())
    await expect(result).rejects.toMatchObject({ code: 'ABORTED', operation: 'exec' })
    expect(session).toMatchObject({ killed: true, disposed: true })
  })

  it('hands a driver that can only collect all it needs', async () => {
    const execute = vi.fn(async () => ({ exitCode: 0 }) as never)
    const driver = { ...fakeDriver(), execStream: undefined, exec: execute }
    const { 'exec.stream': _, ...capabilities } = driver.capabilities
    const manager = createManager({ drivers: { fake: { ...driver, capabilities } as VMDriver } })
    const vm = (await manager.create({}, { driver: 'fake' })) as unknown as VM
    await vm.start()
    await execOf(vm)(['a'], { stdin: 'x', timeoutMs: 5, env: { A: 'b' } })
    expect(execute).toHaveBeenCalledWith(
      vm.id,
      { command: ['a'], env: { A: 'b' }, stdin: true, input: Buffer.from('x'), timeoutMs: 5, maxOutputBytes: 16 * 2 ** 20 },
      expect.anything(),
    )
  })

  it.each<[unknown, unknown, string]>([
    ['ls', undefined, 'command'],
    [[], undefined, 'command'],
    [[''], undefined, 'command'],
    [['a\0'], undefined, 'command.0'],
    [['a'], null, 'options'],
    [['a'], { env: { 'A=b': 'c' } }, 'options.env.A'],
    [['a'], { workdir: 'x' }, 'options.workdir'],
    [['a'], { user: '-u' }, 'options.user'],
    [['a'], { timeoutMs: '5s' }, 'options.timeoutMs'],
    [['a'], { timeoutMs: Number.NaN }, 'options.timeoutMs'],
    [['a'], { maxOutputBytes: 0 }, 'options.maxOutputBytes'],
    [['a'], { stdin: 5 }, 'options.stdin'],
    [['a'], { tty: { columns: 0, rows: 1 } }, 'options.tty.columns'],
    [['a'], { signal: 'SIGTERM' }, 'options.signal'],
    [['a'], { typo: 1 }, 'options.typo'],
  ])('refuses %j with %j', async (command, options, field) => {
    const vm = await running()
    await expect(execOf(vm)(command as string[], options as object)).rejects.toMatchObject({ code: 'INVALID_CONFIG', field })
  })

  it('never shows an environment or an input', async () => {
    const exec = execOf(await running())
    for (const options of [{ env: { 'T=hunter2': 1 } }, { env: 'hunter2' }, { env: { A: ['hunter2'] } }, { stdin: ['hunter2'] }]) {
      const error = await exec(['a'], options).catch((reason: unknown) => reason)
      expect(JSON.stringify(error)).not.toContain('hunter2')
    }
  })
})
