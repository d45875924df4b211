/** What a test of the kit has at hand. */
import type { Capability, DriverHandle, HostProbe, VM, VMConfig, VMDriver, VMManager, VMSummary } from '@vmkit/core'
import type { CallContext } from '@vmkit/core/driver'
import type { Child } from './children.js'
import type { ConformanceOptions, Workload } from './options.js'

type Everything = { readonly [K in Capability]: true }
/** A machine with every method: which of them work is the gate's business. */
export type FullVM = VM<Everything>
export type FullHandle = DriverHandle<Everything>

export interface Gate {
  needs?: readonly Capability[]
  /** Needs neither host nor manager, only the driver object. */
  early?: boolean
  /** Only for drivers whose machines outlive the app. */
  durability?: 'host'
  /** Fixture members without which it cannot run. */
  hooks?: readonly ('disrupt' | 'foreign' | 'createTarget' | 'images' | 'device' | 'child')[]
  /** Default 30 s. */
  limitMs?: number
}

export interface Tools {
  readonly options: ConformanceOptions
  /** The run's id: value of the kit's label. */
  readonly run: string
  /** The driver under test, as apps see it. */
  readonly driver: FullHandle
  /** An instance that is only read: manifest, durability, fields. */
  readonly facts: VMDriver
  readonly probe: HostProbe
  random(): number
  /** A time, with the fixture's patience. */
  ms(ms: number): number
  /** A name that no other test has. */
  name(): string
  skip(reason: string): never
  config(workload: Workload, extra?: VMConfig): VMConfig
  create(workload: Workload, extra?: VMConfig): Promise<FullVM>
  /** Created and started. */
  start(workload: Workload, extra?: VMConfig): Promise<FullVM>
  /** For exec. */
  command(workload: Workload): string[]
  /** A second manager with a driver instance of its own. */
  second(): { manager: VMManager<{ subject: VMDriver }>; driver: FullHandle }
  /** A driver instance without a manager before it. */
  raw(): VMDriver
  context(): CallContext
  /** Another process with the same driver. */
  child(): Promise<Child>
  /** To be done after the test, whatever happens. */
  undo(task: () => Promise<unknown>): void
  /** When no machine of the kit exists: whether the fixture's `leftovers` are as the run found them. */
  assertNothingLeft(): Promise<void>
  /** The machines of this run that exist now. */
  mine(): Promise<VMSummary[]>
  until<T>(what: string, condition: () => Promise<T> | T, ms?: number): Promise<NonNullable<Exclude<T, false>>>
  within<T>(ms: number, what: string, promise: PromiseLike<T>): Promise<T>
}

export type Test = (title: string, gate: Gate, body: (t: Tools) => Promise<void>) => void
