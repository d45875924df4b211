import { tracingChannel } from 'node:diagnostics_channel'
import type { CallContext } from '../driver.js'
import { messageOf, VMKitError } from '../errors.js'
import type { Progress } from '../machine.js'
import { after, settledWithin } from './timer.js'

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

/** One call in flight, and the means to end it from outside. */
export interface Call {
  abort(error: VMKitError): void
}

/** A stream in flight can also be told to end: what is there already is still read. */
export interface StreamCall extends Call {
  end(): void
}

export interface OperationHooks<T> {
  /** Told of the call when it starts, so that others can abort it. */
  onCall?: (call: Call) => void
  /** The driver came through after the caller had been told otherwise. */
  onLateResult?: (value: T) => void
}

/** The context of one call, which also knows why the call was aborted. */
export interface OperationContext extends CallContext {
  readonly ended: VMKitError | undefined
}

/** Runs one driver call under abort and deadline. Rejects with VMKitErrors only. */
export function runOperation<T>(
  info: OperationInfo,
  options: CallOptions & { timeoutMs: number },
  run: (ctx: OperationContext) => Promise<T>,
  hooks: OperationHooks<T> = {},
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const { signal, timeoutMs, onProgress } = options
    if (signal?.aborted) return reject(abortError(info, signal.reason))
    const controller = new AbortController()
    let ended: VMKitError | undefined
    const ctx: OperationContext = {
      // Made when it is asked for: that costs more than all the rest of a call, and a free lock or a quick driver never asks.
      get signal() {
        return controller.signal
      },
      get ended() {
        return ended
      },
      deadline: timeoutMs === Number.POSITIVE_INFINITY ? undefined : Date.now() + timeoutMs,
      report: (progress) => report(onProgress, progress),
    }
    let finished = false
    let cancelAbandon = (): void => {}

    const abort = (error: VMKitError): void => {
      if (ended || finished) return
      ended = error
      cancelAbandon = after(ABANDON_AFTER_MS, () => finish(() => reject(error)))
      controller.abort(error)
    }
    const onCallerAbort = (): void => abort(abortError(info, signal?.reason))
    const finish = (settle: () => void): void => {
      if (finished) return
      finished = true
      cancelDeadline()
      cancelAbandon()
      signal?.removeEventListener('abort', onCallerAbort)
      settle()
    }

    signal?.addEventListener('abort', onCallerAbort, { once: true })
    const cancelDeadline = after(timeoutMs, () => abort(timeoutError(info, timeoutMs)))
    hooks.onCall?.({ abort })
    trace(info, () => run(ctx)).then(
      (value) => {
        finish(() => (ended ? reject(ended) : resolve(value)))
        if (ended) hooks.onLateResult?.(value)
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
  onCall: (call: StreamCall) => () => void,
): AsyncIterableIterator<T> {
  const DONE = { done: true, value: undefined } as const
  const controller = new AbortController()
  // One entry per waiting pull. A race against one lasting promise would keep every pull of a long stream alive.
  const wakers = new Set<() => void>()
  let iterator: AsyncIterator<T> | undefined
  let failure: VMKitError | undefined
  let ended = false
  let ending = false
  let forget = (): void => {}
  let cancelEnd = (): void => {}

  const onCallerAbort = (): void => interrupt(abortError(info, signal?.reason))

  /** Frees everything. The next pull, or the one that waits, fails with the error, or ends when there is none. */
  function interrupt(error: VMKitError | undefined): void {
    if (ended) return
    failure = error
    finish()
    controller.abort(error ?? abortError(info, 'the reader left'))
    released = release()
    for (const wake of wakers) wake()
  }
  function end(): void {
    if (ended || ending) return
    ending = true
    cancelEnd = after(ABANDON_AFTER_MS, () => interrupt(undefined))
    controller.abort(abortError(info, 'it was ended'))
  }
  function finish(): void {
    ended = true
    forget()
    cancelEnd()
    signal?.removeEventListener('abort', onCallerAbort)
  }
  let released: Promise<void> = Promise.resolve()
  // A driver that hangs in its clean-up must not hang the reader as well.
  const release = (): Promise<void> => settledWithin(ABANDON_AFTER_MS, (async () => iterator?.return?.())())

  async function over(): Promise<IteratorResult<T>> {
    await released
    const error = failure
    failure = undefined
    if (error) throw error
    return DONE
  }

  function start(): AsyncIterator<T> {
    signal?.addEventListener('abort', onCallerAbort, { once: true })
    const ctx: CallContext = { signal: controller.signal, deadline: undefined, report: () => {} }
    forget = onCall({ abort: interrupt, end })
    return traceOpen(info, () => open(ctx))[Symbol.asyncIterator]()
  }

  /** The driver's next value, or nothing when the stream is interrupted first. */
  function pull(from: AsyncIterator<T>): Promise<IteratorResult<T> | undefined> {
    return new Promise((resolve, reject) => {
      const wake = (): void => resolve(undefined)
      wakers.add(wake)
      from
        .next()
        .then(resolve, reject)
        .finally(() => wakers.delete(wake))
    })
  }

  return {
    [Symbol.asyncIterator]() {
      return this
    },
    async next() {
      if (!ended && signal?.aborted) onCallerAbort()
      if (ended) return over()
      try {
        iterator ??= start()
        const result = await pull(iterator)
        if (ended || result === undefined) return over()
        if (result.done) finish()
        return result
      } catch (error) {
        if (ended) return over()
        finish()
        if (ending) return DONE
        throw VMKitError.from(error, info)
      }
    },
    async return() {
      interrupt(undefined)
      await released
      failure = undefined
      return DONE
    },
  }
}

export function abortError(info: OperationInfo, reason: unknown): VMKitError {
  if (reason instanceof VMKitError) return reason
  const why = reason === undefined || reason === null ? 'no reason given' : messageOf(reason)
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

// Subscribers get a copy: tracing writes the result into it.
async function trace<T>(info: OperationInfo, run: () => Promise<T>): Promise<T> {
  return operationChannel.hasSubscribers ? operationChannel.tracePromise(run, { ...info }) : run()
}

/** A stream is traced while it opens: how long it is read is up to the reader. */
function traceOpen<T>(info: OperationInfo, open: () => AsyncIterable<T>): AsyncIterable<T> {
  return operationChannel.hasSubscribers ? operationChannel.traceSync(open, { ...info }) : open()
}
