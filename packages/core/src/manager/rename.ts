import type { MachineCalls } from './machine-calls.js'
import type { CallOptions } from './operation.js'
import { ARGUMENTS, OPTIONS, readArgument, readOptions } from './requests.js'

export async function rename(calls: MachineCalls, name: string, options?: CallOptions): Promise<void> {
  const { machine } = calls
  const wanted = readArgument(ARGUMENTS.name, name, 'name', { operation: 'rename', vmId: machine.id })
  let from: string | undefined
  const spec = { needs: 'rename' as const, guard: 'rename' as const, newName: wanted }
  await calls.exclusive('rename', spec, readOptions(OPTIONS.call, options), async (id, ctx) => {
    await calls.method('rename')(id, wanted, ctx)
    from = machine.name
    // Also when the caller has given up meanwhile: the old name is free.
    machine.rename(wanted)
  })
  if (from !== undefined && from !== wanted) calls.emit({ type: 'renamed', from })
}
