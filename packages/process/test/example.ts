import { createManager } from '@vmkit/core'
import { processDriver } from '@vmkit/process/driver'

await using manager = createManager({ drivers: { process: processDriver({ logs: { maxBytes: 8 * 1024 * 1024 } }) } })
await using vm = await manager.create(
  { name: 'worker', command: ['sh', '-c', 'trap "exit 3" TERM; echo "in $PWD"; sleep 60 & wait'], env: { MODE: 'test' } },
  { driver: 'process' },
)
await vm.start()
await vm.waitFor({ log: /^in / })
console.log((await vm.exec(['sh', '-c', 'echo $MODE'])).stdout.trim()) // test
await vm.stop()
console.log((await vm.status()).exit?.code) // 3
