import { createManager } from '@vmkit/core'
import '@vmkit/process'

const stateDir = process.env.APP_STATE ?? '/var/lib/my-app'
await using manager = createManager({ drivers: { process: { stateDir } } })

// Ctrl-C ends a program without running `await using`. Closing the manager deletes what is there, and ends the wait below.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void manager.close())

// What an earlier run could not delete, because it was killed.
for (const { name, reason } of await manager.sweep()) console.log(`deleted ${name}: ${reason}`)

await using vm = await manager.create({ command: ['sleep', '600'], ttl: '1h' }, { driver: 'process' })
await vm.start()
console.log(`started ${vm.name}`)
console.log(await vm.wait())
