import { createManager, VMKitError } from '@vmkit/core'
import '@vmkit/docker'
import '@vmkit/kvm'
import '@vmkit/mock'
import '@vmkit/process'

// An author's view of the kit; exported so that the compiler keeps it.
export type { ConformanceOptions } from '@vmkit/conformance'

const manager = createManager()
const vm = await manager.create({ name: 'packed', image: 'any' }, { driver: 'mock' })
await vm.start()
if (vm.supports('snapshot.disk')) await vm.snapshot('clean')
const { state } = await vm.status()
await vm.delete({ force: true })

// Never called: it is here for the compiler, which refuses the name of a driver that is not installed.
export function uninstalled(): unknown {
  // @ts-expect-error no package in this app adds `bhyve` to the DriverRegistry
  return manager.driver('bhyve')
}

// What only one driver has is there by its import alone.
export const reset = (id: string): Promise<void> => manager.driver('kvm').extras.reset(id, { timeoutMs: 5000 })

await manager.close()
console.log(JSON.stringify({ drivers: [...manager.drivers].sort(), state, errorClass: new VMKitError('NOT_FOUND', 'x').name }))
