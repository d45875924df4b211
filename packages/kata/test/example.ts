import { createManager } from '@vmkit/core'
import { type KataOptions, kata } from '@vmkit/kata/driver'

// Where containerd and Kata's shim are, when they are not the usual ones.
const elsewhere = JSON.parse(process.env.KATA_OPTIONS ?? '{}') as KataOptions
await using manager = createManager({ drivers: { kata: kata({ runtime: 'kata-qemu', ...elsewhere }) } })
const driver = manager.driver('kata')
console.log((await driver.probe()).engine) // Kata 3.28.0 (Go shim, qemu), containerd 2.1.9
await using vm = await driver.create({
  name: 'job',
  image: process.argv[2] ?? 'alpine:3.20',
  command: ['uname', '-r'],
  driverOptions: { kata: { guestSeccomp: true } },
})
await vm.start()
const { code } = await vm.wait()
for await (const { text } of vm.logs()) console.log(text) // the release of the guest's own kernel
console.log(`exit ${code}`)
