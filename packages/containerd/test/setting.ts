/** A namespace and a state folder of one test file alone, and what its machines have in common. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createManager, type VMConfig, VMKitError } from '@vmkit/core'
import { afterAll, beforeAll } from 'vitest'
import { type ContainerdOptions, containerd } from '../src/driver.js'
import { removeDefaultNetwork } from './daemon.js'
import { dropNamespace, ensureTestImage, IMAGE, requireEngine, sockets, why } from './engine.js'
import { traces } from './traces.js'

export const on = { driver: 'containerd' } as const

export const config = (changes: VMConfig = {}): VMConfig => ({ image: IMAGE, pull: 'never', command: ['sleep', '1000'], ...changes })

/** `resolved`, or the code of the error with the field that it names. */
export const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'resolved',
    (error: unknown) => (error instanceof VMKitError ? `${error.code} ${error.field ?? ''}`.trim() : String(error)),
  )

/** The part of an id that CNI, cgroups and folders know a machine by. */
export const uidOf = ({ id }: { id: string }): string => id.split(':')[1] as string

/** @param name of the test file, so that two at once do not meet */
export function setting(name: string, version: keyof typeof sockets = '1.6') {
  const socketPath = sockets[version] as string
  const namespace = `vmkit-${name}-${process.pid}`
  const stateDir = mkdtempSync(join(tmpdir(), 'vmkit-containerd-test-'))
  const managers: { close(): Promise<void> }[] = []
  return {
    socketPath,
    namespace,
    stateDir,
    runs: requireEngine(sockets[version]),
    why: why(sockets[version]),
    managerOf(options: Partial<ContainerdOptions> = {}) {
      const manager = createManager({ drivers: { containerd: containerd({ socketPath, namespace, stateDir, ...options }) } })
      managers.push(manager)
      return manager
    },
    left: (uids: readonly string[] = []) => traces({ socketPath, namespace, stateDir, uids }),
    /** Within `describe`. */
    prepare(): void {
      beforeAll(() => ensureTestImage(socketPath, namespace))
      afterAll(async () => {
        for (const manager of managers) await manager.close()
        await removeDefaultNetwork({ socketPath, namespace, stateDir })
        await dropNamespace(socketPath, namespace)
        rmSync(stateDir, { recursive: true, force: true })
      })
    },
  }
}
