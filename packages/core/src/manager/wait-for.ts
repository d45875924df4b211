import { VMKitError } from '../errors.js'
import { limitOf } from '../limit.js'
import type { LogEntry, VMExit, VMStatus } from '../machine.js'
import { abortable, after, pause } from './timer.js'
import type { Endpoint, ExecOptions, WaitForOptions } from './vm-types.js'

/** What waiting needs of a machine; the VM handle is one. */
export interface Waitable {
  readonly id: string
  readonly driver: string
  status(options: { signal: AbortSignal }): Promise<VMStatus>
  endpoint(port: number, options: { signal: AbortSignal }): Promise<Endpoint>
  exec(command: readonly string[], options: ExecOptions): Promise<{ exitCode: number | null }>
  logs(options: { follow?: boolean; tail?: number; signal: AbortSignal }): AsyncIterable<LogEntry>
}

const DEFAULT_TIMEOUT_MS = 60_000
const DEFAULT_INTERVAL_MS = 100
const CONNECT_TIMEOUT_MS = 2_000
const LOG_TAIL = 20
const LOG_TAIL_TIMEOUT_MS = 500
// When the machine has ended only the caller's own deadline presses.
const LAST_WORDS_TIMEOUT_MS = 5_000
// Port forwarders (docker-proxy, slirp) accept before the guest does, and hang up when it refuses them.
const KEEPS_CONNECTION_MS = 50

/** Resolves when the condition holds. Fails at once when the machine ends first, with its last words. */
export async function waitFor(vm: Waitable, condition: WaitForOptions, caller: AbortSignal): Promise<void> {
  const { timeoutMs = DEFAULT_TIMEOUT_MS, intervalMs = DEFAULT_INTERVAL_MS } = condition
  const info = { driver: vm.driver, operation: 'waitFor', vmId: vm.id }
  const controller = new AbortController()
  const onCallerAbort = (): void => controller.abort(caller.reason)
  caller.addEventListener('abort', onCallerAbort, { once: true })
  let timedOut = false
  const heard: string[] = []
  const cancel = after(timeoutMs, () => {
    timedOut = true
    controller.abort()
  })
  try {
    if ('log' in condition) await waitForLog(vm, condition.log, heard, controller.signal)
    else await poll(vm, check(vm, condition), intervalMs, controller.signal)
  } catch (error) {
    if (!timedOut) throw VMKitError.from(error, info)
    const message = `${describe(condition)} did not happen within ${timeoutMs} ms`
    throw new VMKitError('TIMEOUT', message, {
      ...info,
      cause: error,
      evidence: { logTail: heard.length > 0 ? heard : await logTail(vm, LOG_TAIL_TIMEOUT_MS) },
    })
  } finally {
    cancel()
    caller.removeEventListener('abort', onCallerAbort)
    controller.abort()
  }
}

type Check = (signal: AbortSignal) => Promise<boolean>

function check(vm: Waitable, condition: WaitForOptions): Check {
  if ('port' in condition) return async (signal) => accepts(await vm.endpoint(condition.port, { signal }), signal)
  if ('exec' in condition) return async (signal) => (await vm.exec(condition.exec, { signal })).exitCode === 0
  if ('until' in condition) return async (signal) => condition.until(signal)
  return async (signal) => (await vm.status({ signal })).health === 'healthy'
}

async function poll(vm: Waitable, isMet: Check, intervalMs: number, signal: AbortSignal): Promise<void> {
  for (;;) {
    const failure = await attempt(isMet, signal)
    if (failure === undefined) return
    const status = await vm.status({ signal })
    if (isOver(status)) throw endedError(status, await logTail(vm, LAST_WORDS_TIMEOUT_MS, signal))
    if (failure.error !== undefined && !mayPass(failure.error, status)) throw failure.error
    await pause(intervalMs, signal)
  }
}

/** `undefined` when it is met; else with the error, if that is why. */
async function attempt(isMet: Check, signal: AbortSignal): Promise<{ error?: unknown } | undefined> {
  try {
    return (await abortable(isMet(signal), signal)) ? undefined : {}
  } catch (error) {
    if (signal.aborted) throw error
    return { error: error ?? new VMKitError('BACKEND_ERROR', 'The condition threw nothing') }
  }
}

/** A machine that does not run yet has no ports and runs no commands; a guest may answer later. */
function mayPass(error: unknown, { state }: VMStatus): boolean {
  if (!(error instanceof VMKitError)) return false
  return error.retryable || ((error.code === 'NOT_FOUND' || error.code === 'INVALID_STATE') && state !== 'running')
}

/** `heard` gets the last lines that were read. */
async function waitForLog(vm: Waitable, pattern: string | RegExp, heard: string[], signal: AbortSignal): Promise<void> {
  // A sticky or global pattern would remember where the last line matched.
  const matcher = typeof pattern === 'string' ? undefined : new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, ''))
  const matches = (text: string): boolean => (matcher ? matcher.test(text) : text.includes(pattern as string))
  for await (const { text } of vm.logs({ follow: true, signal })) {
    heard.push(text)
    if (heard.length > LOG_TAIL) heard.shift()
    if (matches(text)) return
  }
  throw endedError(await vm.status({ signal }), heard)
}

function isOver(status: VMStatus): boolean {
  return status.state === 'stopped' || status.state === 'failed'
}

function endedError(status: VMStatus, lines: string[]): VMKitError {
  const why = status.exit ? `: ${describeExit(status.exit)}` : status.reason ? `: ${status.reason}` : ''
  const last = lines.at(-1)
  return new VMKitError(
    'GUEST_ERROR',
    `The machine ended before it was ready${why}${last === undefined ? '' : `; its last line was ${JSON.stringify(last)}`}`,
    {
      evidence: { logTail: lines, ...(status.exit ? { exit: status.exit } : {}) },
    },
  )
}

/** The last lines, for errors: never itself a reason to fail. */
async function logTail(vm: Waitable, timeoutMs: number, signal?: AbortSignal): Promise<string[]> {
  const lines: string[] = []
  const limit = limitOf(signal, timeoutMs)
  try {
    for await (const entry of vm.logs({ tail: LOG_TAIL, signal: limit.signal })) lines.push(entry.text)
  } catch {
    // no logs, or no backend: the error that asked says more
  } finally {
    limit[Symbol.dispose]()
  }
  return lines
}

function describeExit(exit: VMExit): string {
  if (exit.oom) return 'out of memory'
  if (exit.signal !== null) return `killed by ${exit.signal}`
  return exit.code === null ? exit.reason : `exit code ${exit.code}`
}

function describe(condition: WaitForOptions): string {
  if ('port' in condition) return `A connection to port ${condition.port}`
  if ('log' in condition) return `A log line with ${condition.log instanceof RegExp ? condition.log : JSON.stringify(condition.log)}`
  // Arguments may hold secrets.
  if ('exec' in condition) return `Success of ${JSON.stringify(condition.exec[0])}`
  return 'healthy' in condition ? 'A passing health check' : 'The condition'
}

/** Whether something accepts a connection there and does not hang up at once. */
function accepts({ host, port }: Endpoint, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    // Loaded when it is asked for, as in the config's schema.
    const socket = process.getBuiltinModule('node:net').connect({ host, port })
    let timer = setTimeout(() => settle(false), CONNECT_TIMEOUT_MS)
    const onAbort = (): void => settle(false)
    const settle = (result: boolean): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      socket.destroy()
      resolve(result)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    socket.once('error', () => settle(false))
    socket.once('connect', () => {
      clearTimeout(timer)
      // What came while this process had no turn is read first.
      timer = setTimeout(() => setImmediate(settle, true), KEEPS_CONNECTION_MS)
      socket.once('data', () => settle(true))
      socket.once('end', () => settle(false))
      socket.once('close', () => settle(false))
      socket.resume()
    })
  })
}
