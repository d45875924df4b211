import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { imageFromFolder, writeLayout } from '@vmkit/oci'
import { expect, it } from 'vitest'
import { makeRoot } from './guest-root.js'
import { requireQemu } from './support.js'

const hasQemu = await requireQemu()

it.skipIf(!hasQemu)(
  `the example of the README does what it says${hasQemu ? '' : ' (not run: no QEMU; scripts/backends up installs it)'}`,
  { timeout: 120_000 },
  async () => {
    const state = mkdtempSync(join(tmpdir(), 'vmkit-kvm-example-'))
    const root = makeRoot()
    try {
      await using image = await imageFromFolder(root, {
        reference: 'example.com/web:1',
        config: { Cmd: ['sh', '-c', "trap 'kill $!; exit 0' TERM; nc -ll -p 80 -e echo hello & wait $!"] },
      })
      await writeLayout(join(state, 'layout'), image)
      const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env
      const { stdout } = await promisify(execFile)(
        process.execPath,
        ['--import', 'tsx', fileURLToPath(new URL('example.ts', import.meta.url)), join(state, 'layout')],
        { env: { ...env, VM_FOLDER: join(state, 'vms') } },
      )
      expect(stdout).toMatch(/^a virtual machine of its own answers on 127\.0\.0\.1:\d+\nLinux\nstopped\n$/)
    } finally {
      for (const folder of [root, state]) rmSync(folder, { recursive: true, force: true })
    }
  },
)
