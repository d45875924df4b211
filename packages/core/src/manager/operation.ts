import { tracingChannel } from 'node:diagnostics_channel'
import type { CallContext } from '../driver.js'
import { VMKitError } from '../errors.js'
import type { Progress } from '../machine.js'

/** How long the manager waits for a driver to clean up after abort before it rejects without it. */
export const ABANDON_AFTER_MS = 750

/**
 * Every call to a driver passes through this channel (`node:diagnostics_channel` tracing: start, end, asyncStart, asyncEnd,
 * error). The message is an {@link OperationInfo}. Without a subscriber it costs one property read.
 */
export const operationChannel = tracingChannel<OperationInfo>('vmkit:operation')

export interface OperationInfo {
  driver: string
  operation: string
  vmId?: string
}

export interface CallOptions {
  signal?: AbortSignal
  /** Milliseconds until the call fails with `TIMEOUT`. The default depends on the operation; `Infinity` for none. */
  timeoutMs?: number
  onProgress?: (progress: Progress) => void
}

/** One call in flight: its context, and the means to end it from outside. */
export interface Call {
  readonly ctx: CallContext
  abort(error: VMKitError): void
}

export interface OperationHooks<T> {
  /** Told of the call when it starts, so that others can abort it. */
  onCall?: (call: Call) => void
  /** The driver came through after the caller had been told otherwise. */
  onLateResult?: (value: T) => void
}

/** Runs one driver call under abort and deadline. Rejects with VMKitErrors only. */
export function runOperation<T>(
  info: OperationInfo,
  options: CallOptions & { timeoutMs: number },
  run: (ctx: CallContext) => Promise<T>,
  hooks: OperationHooks<T> = {},
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const { signal, timeoutMs, onProgress } = options
    const controller = new AbortController()
    let ended: VMKitError | undefined
    let deadlineTimer: NodeJS.Timeout | undefined
    let abandonTimer: NodeJS.Timeout | undefined

    const abort = (error: VMKitError): void => {
      if (ended) return
      ended = error
      controller.abort(error)
      abandonTimer = setTimeout(() => finish(() => reject(error)), ABANDON_AFTER_MS)
    }
    const onCallerAbort = (): void => abort(abortError(info, signal?.reason))
    let finished = false
    const finish = (settle: () => void): void => {
      if (finished) return
      finished = true
      clearTimeout(deadlineTimer)
      clearTimeout(abandonTimer)
      signal?.removeEventListener('abort', onCallerAbort)
      settle()
    }

    if (signal?.aborted) return reject(abortError(info, signal.reason))
    signal?.addEventListener('abort', onCallerAbort, { once: true })
    if (Number.isFinite(timeoutMs)) deadlineTimer = setTimeout(() => abort(timeoutError(info, timeoutMs)), timeoutMs)
    const call: Call = {
      abort,
      ctx: {
        signal: controller.signal,
        deadline: Number.isFinite(timeoutMs) ? Date.now() + timeoutMs : undefined,
        report: (progress) => report(onProgress, progress),
      },
    }
    hooks.onCall?.(call)
    trace(info, () => run(call.ctx)).then(
      (value) => {
        if (ended) hooks.onLateResult?.(value)
        finish(() => (ended ? reject(ended) : resolve(value)))
      },
      (error: unknown) => finish(() => reject(ended ?? VMKitError.from(error, info))),
    )
  })
}

/**
 * Runs a stream of a driver under abort: `open` is called at the first pull. Leaving it early, `signal`, or `abort` frees
 * what it holds, also while a pull is waiting.
 */
export function runStream<T>(
  info: OperationInfo,
  signal: AbortSignal | undefined,
  open: (ctx: CallContext) => AsyncIterable<T>,
  onCall: (call: Call) => () => void,
): AsyncIterableIterator<T> {
  const DONE = { done: true, value: undefined } as const
  const controller = new AbortController()
  let iterator: AsyncIterator<T> | undefined
  let ended = false
  let interrupt: (how: { error: VMKitError } | undefined) => void = () => {}
  const interrupted = new Promise<{ error: VMKitError } | undefined>((resolve) => {
    interrupt = resolve
  })
  let forget = (): void => {}

  const onCallerAbort = (): void => abort(abortError(info, signal?.reason))
  const abort = (error: VMKitError): void => {
    controller.abort(error)
    interrupt({ error })
  }
  const finish = (): void => {
    ended = true
    forget()
    signal?.removeEventListener('abort', onCallerAbort)
  }
  // A driver that hangs in its clean-up must not hang the reader as well.
  const release = (): Promise<unknown> => Promise.race([Promise.resolve(iterator?.return?.()).catch(() => {}), sleep(ABANDON_AFTER_MS)])

  return {
    [Symbol.asyncIterator]() {
      return this
    },
    async next() {
      if (ended) return DONE
      if (signal?.aborted) abort(abortError(info, signal.reason))
      try {
        if (!iterator) {
          signal?.addEventListener('abort', onCallerAbort, { once: true })
          const call: Call = { ctx: { signal: controller.signal, deadline: undefined, report: () => {} }, abort }
          forget = onCall(call)
          iterator = open(call.ctx)[Symbol.asyncIterator]()
        }
        const pull = iterator.next()
        pull.catch(() => {}) // when the interruption wins, nobody else listens
        const result = await Promise.race([pull.then((value) => ({ value })), interrupted])
        if (result && 'value' in result) {
          if (result.value.done) finish()
          return result.value
        }
        finish()
        await release()
        if (result) throw result.error
        return DONE
      } catch (error) {
        finish()
        throw VMKitError.from(error, info)
      }
    },
    async return() {
      if (ended) return DONE
      finish()
      controller.abort(abortError(info, 'the reader left'))
      interrupt(undefined)
      await release()
      return DONE
    },
  }
}

export function abortError(info: OperationInfo, reason: unknown): VMKitError {
  if (reason instanceof VMKitError) return reason
  const why = reason instanceof Error ? reason.message : String(reason ?? 'no reason given')
  return new VMKitError('ABORTED', `${info.operation} was aborted: ${why}`, { ...info, cause: reason })
}

function timeoutError(info: OperationInfo, timeoutMs: number): VMKitError {
  return new VMKitError('TIMEOUT', `${info.operation} did not end within ${timeoutMs} ms`, {
    ...info,
    hint: 'Give the call a longer timeoutMs if the backend is only slow',
  })
}

function report(onProgress: ((progress: Progress) => void) | undefined, progress: Progress): void {
  try {
    onProgress?.(progress)
  } catch {
    // A listener's bug must not fail the operation it watches.
  }
}

async function trace<T>(info: OperationInfo, run: () => Promise<T>): Promise<T> {
  return operationChannel.hasSubscribers ? operationChannel.tracePromise(run, info) : run()
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref())
}
