import type { VMState } from './machine.js'

/** Operations whose legality depends on the state of the machine. */
export type GuardedOperation = keyof typeof TABLE

/** `go`: call the driver. `done`: the machine is already there, resolve. `no`: `INVALID_STATE`. */
export type Verdict = 'go' | 'done' | 'no'

export const STATES: readonly VMState[] = [
  'created',
  'starting',
  'running',
  'paused',
  'stopping',
  'stopped',
  'failed',
  'migrating',
  'unknown',
]

/*
 * The one table of what is legal when. Columns follow STATES. In `unknown` the backend decides: core does not know better.
 */
const TABLE = {
  //         created starting running paused stopping stopped failed migrating unknown
  start: /**/ ['go', 'go', 'done', 'no', 'no', 'go', 'go', 'no', 'go'],
  stop: /* */ ['done', 'go', 'go', 'go', 'go', 'done', 'done', 'go', 'go'],
  kill: /* */ ['no', 'go', 'go', 'go', 'go', 'no', 'no', 'go', 'go'],
  pause: /**/ ['no', 'no', 'go', 'done', 'no', 'no', 'no', 'no', 'go'],
  resume: /**/ ['no', 'no', 'done', 'go', 'no', 'no', 'no', 'no', 'go'],
  delete: /**/ ['go', 'no', 'no', 'no', 'no', 'go', 'go', 'no', 'go'],
  exec: /* */ ['no', 'no', 'go', 'no', 'no', 'no', 'no', 'no', 'go'],
  attach: /**/ ['no', 'no', 'go', 'go', 'no', 'no', 'no', 'no', 'go'],
  resize: /**/ ['no', 'no', 'go', 'go', 'no', 'no', 'no', 'no', 'go'],
  rename: /**/ ['go', 'go', 'go', 'go', 'go', 'go', 'go', 'no', 'go'],
  devices: /**/ ['go', 'no', 'go', 'go', 'no', 'go', 'no', 'no', 'go'],
  snapshot: /**/ ['go', 'no', 'go', 'go', 'no', 'go', 'no', 'no', 'go'],
  restore: /**/ ['go', 'no', 'go', 'go', 'no', 'go', 'go', 'no', 'go'],
  clone: /**/ ['go', 'go', 'go', 'go', 'go', 'go', 'go', 'no', 'go'],
  migrate: /**/ ['go', 'no', 'go', 'go', 'no', 'go', 'no', 'no', 'go'],
  bundle: /**/ ['go', 'no', 'go', 'go', 'no', 'go', 'no', 'no', 'go'],
  metrics: /**/ ['no', 'no', 'go', 'go', 'no', 'no', 'no', 'no', 'go'],
} as const satisfies Record<string, readonly Verdict[]>

export function isGuarded(operation: unknown): operation is GuardedOperation {
  return typeof operation === 'string' && Object.hasOwn(TABLE, operation)
}

/** Whether `operation` may run on a machine in `state`. */
export function verdict(operation: GuardedOperation, state: VMState): Verdict {
  return TABLE[operation][STATES.indexOf(state)] ?? 'go'
}

/** The states in which `operation` is legal or already satisfied; for messages and docs. */
export function legalStates(operation: GuardedOperation): VMState[] {
  return STATES.filter((state) => verdict(operation, state) !== 'no')
}
