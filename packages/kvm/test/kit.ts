/** How the conformance kit makes machines of this driver, on any QEMU. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type ConformanceOptions, shellCommand, type Workload } from '@vmkit/conformance'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { type KvmOptions, kvm } from '../src/driver.js'
import { makeRoot } from './guest-root.js'

/** The kit's commands, but busybox's nc wants other options. */
function command(workload: Workload): string[] {
  if (workload.does !== 'serve') return shellCommand(workload)
  return ['sh', '-c', "trap 'kill $!; exit 0' TERM; nc -ll -p $0 -e echo hello & wait $!", String(workload.port)]
}

/** State folders of its own, which are gone after the tests. */
export function fixture(given: Pick<KvmOptions, 'binary'> = {}): ConformanceOptions {
  const root = makeRoot()
  const [stateDir, targetDir] = ['kit', 'target'].map((name) => mkdtempSync(join(tmpdir(), `vmkit-kvm-${name}-`))) as [string, string]
  afterAll(() => {
    for (const folder of [root, stateDir, targetDir]) rmSync(folder, { recursive: true, force: true })
  })
  const options = { ...given, stateDir }
  return {
    runner: { describe, it, before: beforeAll, after: afterAll },
    createDriver: () => kvm(options),
    createTarget: () => kvm({ ...given, stateDir: targetDir }),
    child: { module: fileURLToPath(new URL('../dist/driver.js', import.meta.url)), export: 'kvm', options },
    machine: (workload) => ({ rootfs: root, memory: '128MiB', command: command(workload) }),
    command,
    limits: { cpus: 1, memory: 96 * 2 ** 20 },
    // Every machine boots a kernel, which takes seconds where the processor is emulated.
    patience: 3,
  }
}
