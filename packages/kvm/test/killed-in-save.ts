/** Saves the memory of a machine, `killed-in-save.ts STATE_DIR ID begun|sent`, and is killed in the middle of it, at an exact point. */
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { createManager } from '@vmkit/core'
import { kvm } from '../src/driver.js'

const [stateDir = '', id = '', when] = process.argv.slice(2)
const vm = await createManager({ drivers: { kvm: kvm({ stateDir }) } })
  .driver('kvm')
  .get(id)
if (!vm.supports('snapshot.memory')) throw new Error('it saves no memory')
const die = (): never => {
  process.kill(process.pid, 'SIGKILL')
  throw new Error('it should be dead')
}
if (when === 'begun') {
  // QEMU has connected, and its first byte would be written now.
  fs.createWriteStream = die
  syncBuiltinESMExports()
}
await vm.snapshot('half', { memory: true, ...(when === 'sent' ? { onProgress: die } : {}) })
