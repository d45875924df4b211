import { createManager } from '@vmkit/core'
import '@vmkit/docker'
import '@vmkit/kvm'
import '@vmkit/mock'
import '@vmkit/process'

const manager = createManager()
const vm = await manager.create({ name: 'bundled', image: 'any' }, { driver: 'mock' })
await vm.start()
const { state } = await vm.status()
await vm.delete({ force: true })
await manager.close()
console.log(JSON.stringify({ drivers: [...manager.drivers].sort(), state }))
