import { createManager } from '@vmkit/core'
import '@vmkit/docker'

await using manager = createManager()
const image = process.argv[2] ?? 'nginx:1.27'
await using vm = await manager.driver('docker').create({ name: 'web', image, memory: '256MiB', ports: [{ guest: 80 }] })
await vm.start()
await vm.waitFor({ port: 80, timeoutMs: 30_000 })
const { host, port } = await vm.endpoint(80)
console.log((await fetch(`http://${host}:${port}/`)).status) // 200
