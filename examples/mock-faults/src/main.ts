import { createManager, VMKitError } from '@vmkit/core'
import { fakeClock, mock, mockBackend } from '@vmkit/mock/driver'

const clock = fakeClock()
const backend = mockBackend({ clock, programs: { server: (io) => io.sleep(3_600_000) } })
await using manager = createManager({ drivers: { mock: mock({ backend }) } })
const vm = await manager.create({ name: 'web', command: ['server'] }, { driver: 'mock' })

backend.inject({ operation: 'start', error: 'RESOURCE_EXHAUSTED', message: 'no memory left' })
try {
  await vm.start()
} catch (error) {
  if (error instanceof VMKitError) console.log(error.code, error.message) // RESOURCE_EXHAUSTED no memory left
}

backend.inject({ operation: 'start', dieAfterMs: 200 })
await vm.start()
await clock.advance(200) // no test waits for this
console.log((await vm.wait()).signal) // SIGKILL
