import { createManager, type VM } from '@vmkit/core'
import type { CallContext } from '@vmkit/core/driver'
import { type MockDriver, mock } from '@vmkit/mock/driver'

/** What the operations work on: one manager, the driver below it, and three machines. */
export type Bed = Awaited<ReturnType<typeof makeBed>>

/** A call through the manager and the same call to the bare driver; `before` and `after` put things right, unmeasured. */
export interface Operation {
  name: string
  ours(): unknown
  theirs(ctx: CallContext): unknown
  before?(ctx: CallContext): unknown
  after?(ctx: CallContext): unknown
}

type MockVM = VM<MockDriver['capabilities']>

export async function makeBed() {
  // A mock has every method but those of a screen, which nothing here calls.
  const driver = mock() as Required<MockDriver>
  const manager = createManager({ drivers: { mock: driver } })
  const make = (name: string, command: string[], env = {}): Promise<MockVM> => manager.create({ name, command, env }, { driver: 'mock' })

  const vm = await make('running', ['sleep', 'infinity'])
  const idle = await make('idle', ['sleep', 'infinity'])
  // `env` prints one line for each.
  const over = await make('over', ['env'], Object.fromEntries(Array.from({ length: 10 }, (_, index) => [`LINE_${index}`, 'text'])))
  await vm.start()
  await vm.snapshot('base')
  await vm.files.write('/data/file', new Uint8Array(1024))
  await over.start()
  await over.wait()
  return { manager, driver, vm, idle, over, handle: manager.driver('mock') }
}

/** What the manager makes for each call; a bare caller has to make one too. */
export function freshContext(): CallContext {
  return { signal: new AbortController().signal, deadline: undefined, report: () => {} }
}
