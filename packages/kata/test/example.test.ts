import { execFile } from 'node:child_process'
import { release } from 'node:os'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { ensureTestImage, IMAGE, leftovers, requireStandIn, STAND_IN, socketPath, stateFolder, why } from './stand-in.js'

it.skipIf(!requireStandIn())(`the example of the README does what it says${why}`, async () => {
  const namespace = 'vmkit-kata-example'
  const stateDir = stateFolder()
  const options = { namespace, stateDir, socketPath, runtime: STAND_IN, allowStandIn: true }
  await ensureTestImage(options)
  const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--import', 'tsx', fileURLToPath(new URL('example.ts', import.meta.url)), IMAGE],
    { env: { ...env, KATA_OPTIONS: JSON.stringify(options) } },
  )
  const [engine, kernel, exit] = stdout.split('\n')
  expect(engine).toMatch(/^STAND-IN for Kata/)
  // Without a VM it is the kernel of this host.
  expect(kernel).toBe(release())
  expect(exit).toBe('exit 0')
  expect(await leftovers(namespace, stateDir)).toEqual([])
})
