/** A layer of 200 MB must pass through without being kept. Measured in a process of its own, where nothing else grows. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { hasRegistries, open, why } from './registries.js'

const LIMIT_MIB = 64

it.skipIf(!hasRegistries)(
  `a layer of 200 MB takes no more than ${LIMIT_MIB} MiB${why}`,
  async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [
      '--import',
      'tsx',
      join(import.meta.dirname, 'memory-child.ts'),
      `${open}/vmkit-test/oci-memory:1`,
    ])
    const grown = JSON.parse(stdout) as Record<string, number>
    console.log('MiB of resident memory more than at the start, at most so far:', grown)
    expect(Object.keys(grown)).toEqual(['archive', 'push', 'pull and unpack', 'gzip and unpack'])
    for (const [step, mib] of Object.entries(grown)) expect(mib, step).toBeLessThan(LIMIT_MIB)
  },
  120_000,
)
