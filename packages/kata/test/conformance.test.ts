/** On real containerd, with a STAND-IN for Kata: containerd's runc shim under the name of Kata's. No VM is involved. */
import { conformance } from '@vmkit/conformance'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { kata } from '../src/driver.js'
import { command, ensureTestImage, IMAGE, leftovers, STAND_IN, socketPath, stateFolder } from './stand-in.js'

const namespace = 'vmkit-kata-kit'
const stateDir = stateFolder()
const options = {
  namespace,
  stateDir,
  allowStandIn: true,
  // Apart from that of containerd's own tests, which may run at the same time.
  cni: { subnet: '10.89.0.0/16' },
  runtime: STAND_IN ?? '/run/vmkit-no-such/containerd-shim-kata-v2',
  socketPath: socketPath ?? '/run/vmkit-no-such.sock',
}
if (socketPath !== undefined) await ensureTestImage(options)

conformance({
  runner: { describe, it, before: beforeAll, after: afterAll },
  variant: 'stand-in',
  createDriver: () => kata(options),
  child: { module: new URL('../dist/driver.js', import.meta.url).href, export: 'kata', options },
  machine: (workload) => ({ image: IMAGE, pull: 'never' as const, command: command(workload) }),
  command,
  leftovers: () => leftovers(namespace, stateDir),
})
