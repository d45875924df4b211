import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { conformance, shellCommand, type Workload } from '@vmkit/conformance'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { kvm } from '../src/driver.js'
import { makeRoot } from './guest-root.js'

const root = makeRoot()
const stateDir = mkdtempSync(join(tmpdir(), 'vmkit-kvm-kit-'))
const targetDir = mkdtempSync(join(tmpdir(), 'vmkit-kvm-target-'))
const options = { stateDir }
const data = join(targetDir, 'data.img')
writeFileSync(data, Buffer.alloc(2 ** 20))
afterAll(() => {
  for (const folder of [root, stateDir, targetDir]) rmSync(folder, { recursive: true, force: true })
})

/** The kit's commands, but busybox's nc wants other options. */
function command(workload: Workload): string[] {
  if (workload.does !== 'serve') return shellCommand(workload)
  return ['sh', '-c', "trap 'kill $!; exit 0' TERM; nc -ll -p $0 -e echo hello & wait $!", String(workload.port)]
}

conformance({
  runner: { describe, it, before: beforeAll, after: afterAll },
  createDriver: () => kvm(options),
  createTarget: () => kvm({ stateDir: targetDir }),
  child: { module: fileURLToPath(new URL('../dist/driver.js', import.meta.url)), export: 'kvm', options },
  machine: (workload) => ({ rootfs: root, memory: '128MiB', command: command(workload) }),
  command,
  device: { type: 'disk', path: data, readOnly: true },
  limits: { cpus: 1, memory: 96 * 2 ** 20 },
  // Every machine boots a kernel, which takes seconds where the processor is emulated.
  patience: 3,
})
