/** On real containerd, with a STAND-IN for Kata: containerd's runc shim under the name of Kata's. No VM is involved. */
import { conformance, type Workload } from '@vmkit/conformance'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { archiveOf, backendEnv, pushTestImage, testImage } from '../../containerd/test/engine.js'
import { type KataOptions, kata } from '../src/driver.js'
import { command, ensureTestImage, IMAGE, leftovers, STAND_IN, sockets, stateFolder } from './stand-in.js'

async function fixture(found: string | undefined, namespace: string, changes: KataOptions = {}) {
  const stateDir = stateFolder()
  const socketPath = STAND_IN === undefined ? undefined : found
  const options: KataOptions = {
    namespace,
    stateDir,
    allowStandIn: true,
    // Apart from that of containerd's own tests, and from Podman's networks (10.88 and 10.89), which may be there at the same time.
    cni: { subnet: '10.85.0.0/16' },
    runtime: STAND_IN ?? '/run/vmkit-no-such/containerd-shim-kata-v2',
    socketPath: socketPath ?? '/run/vmkit-no-such.sock',
    ...changes,
  }
  if (socketPath !== undefined) await ensureTestImage(options)
  return {
    runner: { describe, it, before: beforeAll, after: afterAll },
    createDriver: () => kata(options),
    child: { module: new URL('../dist/driver.js', import.meta.url).href, export: 'kata', options },
    machine: (workload: Workload) => ({ image: IMAGE, pull: 'never' as const, command: command(workload) }),
    command,
    leftovers: () => leftovers(namespace, stateDir, socketPath),
  }
}

const target = sockets['1.7']
const registry = backendEnv('VMKIT_REGISTRY')

conformance({
  ...(await fixture(sockets['1.6'], 'vmkit-kata-kit')),
  variant: 'stand-in',
  ...(target === undefined ? {} : { createTarget: (await fixture(target, 'vmkit-kata-target')).createDriver }),
  ...(registry === undefined ? {} : { images: await imagesOf(registry) }),
})

/** An image that only the loopback registry has, and an archive of another one. */
async function imagesOf(host: string) {
  const reference = `${host}/vmkit-test/kata-kit:1`
  await pushTestImage(reference)
  return { reference, missing: `${host}/vmkit-test/nothing:1`, archive: () => archive() }
}

async function* archive(): AsyncGenerator<Uint8Array> {
  yield* archiveOf(await testImage('vmkit-test/archived:1'))
}

// What a newer daemon can do differently. The one of 2.x has the logger too, for what only it can.
for (const version of ['1.7', '2'] as const) {
  conformance({
    ...(await fixture(sockets[version], 'vmkit-kata-kit', version === '2' ? { logs: { mode: 'timestamps' } } : {})),
    variant: `stand-in-${version}`,
    only: ['lifecycle', 'exit', 'logs', 'exec', 'restart', 'snapshot'],
  })
}
