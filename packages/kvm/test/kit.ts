/** How the conformance kit makes machines of this driver, on any QEMU. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type ConformanceOptions, shellCommand, type Workload } from '@vmkit/conformance'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { type KvmOptions, kvm } from '../src/driver.js'
import { makeRoot } from './guest-root.js'
import { kitImages, ownCache, pushKitImage } from './kit-images.js'

/** The kit's commands, but busybox's nc wants other options. */
function command(workload: Workload): string[] {
  if (workload.does !== 'serve') return shellCommand(workload)
  return ['sh', '-c', "trap 'kill $!; exit 0' TERM; nc -ll -p $0 -e echo hello & wait $!", String(workload.port)]
}

/** State folders of its own, which are gone after the tests. */
export function fixture(given: Pick<KvmOptions, 'binary'> = {}): ConformanceOptions {
  const root = makeRoot()
  const folder = (name: string): string => mkdtempSync(join(tmpdir(), `vmkit-kvm-${name}-`))
  const [stateDir, targetDir, cache] = [folder('kit'), folder('target'), folder('cache')]
  const images = kitImages(root)
  beforeAll(async () => {
    if (images) await pushKitImage(root, images.reference)
  })
  afterAll(() => {
    for (const path of [root, stateDir, targetDir, cache]) rmSync(path, { recursive: true, force: true })
  })
  const options = { ...given, stateDir, cacheDir: ownCache(cache) }
  return {
    runner: { describe, it, before: beforeAll, after: afterAll },
    createDriver: () => kvm(options),
    createTarget: () => kvm({ ...options, stateDir: targetDir }),
    child: { module: fileURLToPath(new URL('../dist/driver.js', import.meta.url)), export: 'kvm', options },
    machine: (workload) => ({ rootfs: root, memory: '128MiB', command: command(workload) }),
    command,
    ...(images ? { images } : {}),
    limits: { cpus: 1, memory: 96 * 2 ** 20 },
    // Every machine boots a kernel, which takes seconds where the processor is emulated.
    patience: 3,
  }
}
