import { type CallContext, type ExecSession, VMKitError } from '@vmkit/core/driver'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import type { Inner } from './inner.js'
import { refuseDiskInGuest } from './refusals.js'
import { verifiedKill, verifiedResize, verifiedStop } from './verify.js'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())
const ctx: CallContext = { signal: new AbortController().signal, deadline: undefined, report: () => {} }
const fake = (methods: object) => methods as unknown as Inner

/** As a call over gRPC does that nobody answers. */
const never = (_id: string, ...rest: unknown[]) =>
  new Promise<never>((_, reject) => {
    const { signal } = rest.at(-1) as CallContext
    signal.addEventListener('abort', () => reject(signal.reason))
  })

it('a SIGKILL that Kata swallowed is an error, and other signals are not waited for', async () => {
  const inner = fake({ kill: async () => {}, wait: never })
  await verifiedKill(inner, 'm', 'SIGTERM', ctx)
  const killing = expect(verifiedKill(inner, 'm', 'SIGKILL', ctx)).rejects.toMatchObject({ code: 'BACKEND_ERROR', retryable: true })
  await vi.advanceTimersByTimeAsync(30_000)
  await killing
  await verifiedKill(fake({ kill: async () => {}, wait: async () => ({ code: 137 }) }), 'm', 'SIGKILL', ctx)
})

it('a stop that never ends is an error after its grace, and an abort stays one', async () => {
  const inner = fake({ stop: never })
  let isOver = false
  const stopping = verifiedStop(inner, 'm', { graceMs: 5000 }, ctx).catch((error: unknown) => {
    isOver = true
    return error
  })
  await vi.advanceTimersByTimeAsync(34_999)
  expect(isOver).toBe(false)
  await vi.advanceTimersByTimeAsync(1)
  expect(await stopping).toMatchObject({ code: 'BACKEND_ERROR', message: expect.stringContaining('still there') })
  const abort = new AbortController()
  const aborted = verifiedStop(inner, 'm', { graceMs: 5000 }, { ...ctx, signal: abort.signal })
  abort.abort(new VMKitError('ABORTED', 'the caller left'))
  await expect(aborted).rejects.toMatchObject({ code: 'ABORTED' })
  expect(vi.getTimerCount()).toBe(0)
})

/** A guest in which `cat` prints this, or fails. */
const guest = (text: string | undefined, resize: (request: object) => void) =>
  fake({
    getInfo: async () => ({ config: { memory: 64 * 2 ** 20, cpus: 1 } }),
    resize: async (_id: string, request: object) => resize(request),
    execStream: async () =>
      ({
        output: (async function* () {
          if (text !== undefined) yield { source: 'stdout', data: Buffer.from(text) }
        })(),
        wait: async () => ({ exitCode: text === undefined ? 1 : 0, signal: null }),
      }) as unknown as ExecSession,
  })

it('a resize holds when the guest has the limit', async () => {
  const asked: object[] = []
  await verifiedResize(
    guest(`${96 * 2 ** 20}\n`, (request) => asked.push(request)),
    'm',
    { memory: 96 * 2 ** 20 },
    ctx,
  )
  expect(asked).toEqual([{ memory: 96 * 2 ** 20 }])
})

it.each([
  ['67108864\n', 'the guest has 67108864'],
  ['max\n', 'the guest has max'],
  [undefined, 'cannot be read'],
])('a resize after which the guest says %j is an error, and what held before is told again', async (text, words) => {
  const asked: object[] = []
  await expect(
    verifiedResize(
      guest(text, (request) => asked.push(request)),
      'm',
      { memory: 96 * 2 ** 20 },
      ctx,
    ),
  ).rejects.toMatchObject({ code: 'GUEST_ERROR', field: 'memory', message: expect.stringContaining(words) })
  expect(asked).toEqual([{ memory: 96 * 2 ** 20 }, { memory: 64 * 2 ** 20 }])
})

it.each([
  ['running', 'devmapper', true],
  ['paused', 'blockfile', true],
  ['stopped', 'devmapper', false],
  ['running', 'overlayfs', false],
])('the disk of a %s sandbox on %s is refused: %s', async (state, snapshotter, isRefused) => {
  const looking = refuseDiskInGuest(fake({ getInfo: async () => ({ state, details: { snapshotter } }) }), 'm', ctx)
  if (isRefused) await expect(looking).rejects.toMatchObject({ code: 'INVALID_STATE', message: expect.stringContaining(snapshotter) })
  else await looking
})
