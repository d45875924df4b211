import { createManager } from '@vmkit/core'
import { kvm } from '@vmkit/kvm/driver'

await using manager = createManager({ drivers: { kvm: kvm({ stateDir: process.env.VM_FOLDER ?? '/var/lib/vmkit/kvm' }) } })
// Any OCI image: a reference in a registry, an archive of `docker save`, or a layout on this host.
const image = process.argv[2] ?? 'nginx:1.27'
await using vm = await manager.create(
  { name: 'web', image, memory: '256MiB', ports: [{ guest: 80 }], env: { GREETING: 'hello' } },
  { driver: 'kvm' },
)
await vm.start()
const { host, port } = await vm.endpoint(80)
console.log(`a virtual machine of its own answers on ${host}:${port}`)
if (vm.supports('exec')) console.log((await vm.exec(['uname', '-s'])).stdout.trim()) // Linux
await vm.stop()
console.log((await vm.status()).state) // stopped
