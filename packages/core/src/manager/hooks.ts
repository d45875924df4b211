import { messageOf, VMKitError } from '../errors.js'
import type { OperationContext, OperationInfo } from './operation.js'

/** Called around every operation; `before` may veto it by throwing; what `after` throws becomes a warning of the process. */
export interface ManagerHooks {
  before?(info: OperationInfo): void | Promise<void>
  after?(info: OperationInfo, error: VMKitError | undefined): void | Promise<void>
}

/** The operation behind its `before` hook, which so has the operation's own deadline. */
export function withVeto<T>(
  before: ManagerHooks['before'],
  info: OperationInfo,
  run: (ctx: OperationContext) => Promise<T>,
): (ctx: OperationContext) => Promise<T> {
  if (!before) return run
  return async (ctx) => {
    await before(info)
    if (ctx.ended) throw ctx.ended
    return run(ctx)
  }
}

/** A stream between its hooks. */
export async function* hooked<T>({ before, after }: ManagerHooks, info: OperationInfo, open: () => AsyncIterable<T>): AsyncGenerator<T> {
  let error: VMKitError | undefined
  try {
    await before?.(info)
    yield* open()
  } catch (cause) {
    error = VMKitError.from(cause, info)
    throw error
  } finally {
    if (after) await notify(after, info, error)
  }
}

/** What is done is done: a failing listener can only be reported. */
export async function notify(after: NonNullable<ManagerHooks['after']>, info: OperationInfo, error: VMKitError | undefined): Promise<void> {
  try {
    await after(info, error)
  } catch (problem) {
    process.emitWarning(`The \`after\` hook of vmkit failed: ${messageOf(problem)}`)
  }
}
