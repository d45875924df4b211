import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createManager, type VM, type VMConfig } from '@vmkit/core'
import { type capabilities, type KvmOptions, kvm } from '../src/driver.js'
import { qemuBinary } from '../src/qemu/binary.js'

/** Why the tests of a real QEMU do not run here; with VMKIT_REQUIRE_BACKENDS=1 that is an error. */
export async function requireQemu(): Promise<boolean> {
  try {
    await qemuBinary('qemu-system-x86_64')
    return true
  } catch (error) {
    if (process.env.VMKIT_REQUIRE_BACKENDS === '1') throw error
    return false
  }
}

/** A manager on a state folder of its own, of which nothing is left afterwards. */
export function bench(options: KvmOptions = {}) {
  const stateDir = options.stateDir ?? mkdtempSync(join(tmpdir(), 'vmkit-kvm-'))
  const driver = kvm({ ...options, stateDir })
  const manager = createManager({ drivers: { kvm: driver } })
  return {
    stateDir,
    driver,
    manager,
    create: (config: VMConfig) => manager.create(config, { driver: 'kvm' }),
    async [Symbol.asyncDispose]() {
      for (const { id } of await manager.driver('kvm').list()) await (await manager.driver('kvm').get(id)).delete({ force: true })
      await manager.close()
      rmSync(stateDir, { recursive: true, force: true })
    },
  }
}

/** A machine whose guest vmkit can reach, as a type that says so. */
export function capable(vm: VM<typeof capabilities>) {
  if (vm.supports('exec') && vm.supports('exec.stream') && vm.supports('files') && vm.supports('files.archive') && vm.supports('attach'))
    return vm
  throw new Error('this machine has no way into its guest')
}
