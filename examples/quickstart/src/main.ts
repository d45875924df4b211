import { createManager } from '@vmkit/core'
import '@vmkit/process' // registers the driver, and adds its types

await using manager = createManager()
await using vm = await manager.create({ name: 'hello', command: ['sh', '-c', 'echo ready; sleep 60'] }, { driver: 'process' })

await vm.start()
await vm.waitFor({ log: 'ready', timeoutMs: 5_000 })

const { exitCode, stdout } = await vm.exec(['sh', '-c', 'echo 6 times 7 is $((6 * 7))'])
console.log(exitCode, stdout.trim()) // 0 6 times 7 is 42

const { memory } = await vm.metrics()
console.log(`uses ${memory.usedBytes} bytes`)

await vm.stop()
console.log((await vm.status()).exit) // how it ended: null for what is not known, never a guess
