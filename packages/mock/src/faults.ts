import { type ErrorCode, type VMExit, VMKitError } from '@vmkit/core'
import type { Clock } from './clock.js'

/** A fault to come. Calls are counted from when it is injected; it strikes from the `nth` on, `times` times. */
export type Fault = {
  /** A method of the driver, such as `start` or `images.pull`. */
  operation: string
  /** Default 1. */
  nth?: number
  /** Default 1. */
  times?: number
} & (
  | { /** The call fails. */ error: ErrorCode; message?: string }
  | { /** The call takes so much longer; `Infinity`: until it is aborted. */ delayMs: number }
  | { /** The call succeeds and, so long after it, the machine ends. For `start`. */ dieAfterMs: number; exit?: Partial<VMExit> }
)

/** Milliseconds that a call takes: always the same, or drawn from a range with the seed. */
export type Latency = number | { min: number; max: number }

export type Death = { afterMs: number; exit: Partial<VMExit> }

/** Decides what befalls each call. */
export class Weather {
  readonly #clock: Clock
  readonly #latency: Latency | Readonly<Record<string, Latency>>
  readonly #random: () => number
  readonly #faults: { fault: Fault; calls: number }[] = []

  constructor(clock: Clock, latency: Latency | Readonly<Record<string, Latency>>, seed: number) {
    this.#clock = clock
    this.#latency = latency
    this.#random = mulberry32(seed)
  }

  inject(fault: Fault): void {
    this.#faults.push({ fault, calls: 0 })
  }

  clear(): void {
    this.#faults.length = 0
  }

  /** Waits and fails as this call must. Returns how the machine is to die, if it must. */
  async strike(operation: string, signal: AbortSignal): Promise<Death | undefined> {
    let delay = this.#delay(operation)
    let death: Death | undefined
    let failure: VMKitError | undefined
    for (const entry of this.#faults) {
      const { fault } = entry
      if (fault.operation !== operation) continue
      entry.calls += 1
      const first = fault.nth ?? 1
      if (entry.calls < first || entry.calls >= first + (fault.times ?? 1)) continue
      if ('delayMs' in fault) delay += fault.delayMs
      else if ('dieAfterMs' in fault) death = { afterMs: fault.dieAfterMs, exit: fault.exit ?? {} }
      else failure ??= new VMKitError(fault.error, fault.message ?? `injected fault: ${operation} fails`)
    }
    if (delay === Number.POSITIVE_INFINITY) await untilAborted(signal)
    else if (delay > 0) await this.#clock.sleep(delay, signal)
    if (failure) throw failure
    return death
  }

  #delay(operation: string): number {
    const latency = this.#latency
    const own =
      typeof latency === 'object' && !('min' in latency) ? ((latency as Record<string, Latency>)[operation] ?? 0) : (latency as Latency)
    return typeof own === 'number' ? own : own.min + this.#random() * (own.max - own.min)
  }
}

function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason)
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
}

/** mulberry32, a public-domain generator by Tommy Ettinger: 32 bits of state are plenty for latencies. */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
