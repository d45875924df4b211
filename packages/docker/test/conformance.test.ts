import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { conformance, shellCommand, type Workload } from '@vmkit/conformance'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { docker } from '../src/driver.js'
import { startBackends, stopNext } from './daemon.js'
import { backendEnv, engineSocket, ensureImage, IMAGE, pushImage, raw, saveImage } from './engine.js'

const socketPath = engineSocket()

const ARCHIVED = 'vmkit-test/archived:1'
const target = engineSocket('VMKIT_DOCKER_NEXT_SOCKET', false)
const podman = engineSocket('VMKIT_PODMAN_SOCKET', false)
for (const socket of [socketPath, target, podman]) if (socket !== undefined) await ensureImage(socket)
const registry = backendEnv('VMKIT_REGISTRY')
/** The kit's commands, but busybox's nc wants other options. */
function command(workload: Workload): string[] {
  if (workload.does === 'serve') return ['nc', '-ll', '-p', String(workload.port), '-e', '/bin/hello']
  return shellCommand(workload)
}

const runner = { describe, it, before: beforeAll, after: afterAll }

function fixture(socket: string | undefined) {
  const driverOptions = socket === undefined ? {} : { socketPath: socket }
  return {
    runner,
    createDriver: () => docker(driverOptions),
    child: { module: new URL('../dist/driver.js', import.meta.url).href, export: 'docker', options: driverOptions },
    machine: (workload: Workload) => ({ image: IMAGE, pull: 'never' as const, command: command(workload) }),
    command,
    async foreign() {
      const name = `kit-foreign-${process.pid}`
      const { body } = await raw(socket as string, 'POST', `/containers/create?name=${name}`, { Image: IMAGE, Cmd: ['sleep', '60'] })
      const { Id } = JSON.parse(body) as { Id: string }
      return { id: Id, name, remove: async () => void (await raw(socket as string, 'DELETE', `/containers/${Id}?force=1`)) }
    },
  }
}

conformance({
  ...fixture(socketPath),
  ...(target === undefined ? {} : { createTarget: () => docker({ socketPath: target }) }),
  ...(registry === undefined || socketPath === undefined ? {} : { images: await imagesOf(socketPath, registry) }),
})

// A newer engine: what its API can make different. It is also the one that is taken away, since no other test uses it then.
if (target !== undefined) {
  conformance({
    ...fixture(target),
    variant: 'next',
    only: ['lifecycle', 'exit', 'logs', 'exec', 'exec-streams', 'attach', 'events', 'rename', 'snapshot', 'backend-down'],
    disrupt: { down: stopNext, up: startBackends },
  })
}

// Podman's answer to Docker's API.
if (podman !== undefined) {
  conformance({
    ...fixture(podman),
    variant: 'podman',
    // Not `files` and `hostile`: names with `*` or `[`, and labels that begin with `=`, are refused there. Not those that take minutes.
    only: [
      'manifest',
      'create',
      'lifecycle',
      'identity',
      'exit',
      'logs',
      'exec',
      'exec-streams',
      'ports',
      'volumes-networks',
      'rename',
      'snapshot',
      'clone',
      'bundle',
      'unsupported',
    ],
  })
}

/** An image that only the loopback registry has, an archive of another one, and a folder to build from. */
async function imagesOf(socket: string, host: string) {
  const reference = `${host}/vmkit-test/pulled:1`
  await pushImage(socket, IMAGE, reference)
  // Its own name: the kit removes what it has imported.
  await ensureImage(socket, ARCHIVED)
  const saved = await buffer(saveImage(socket, ARCHIVED))
  const folder = await mkdtemp(join(tmpdir(), 'vmkit-docker-test-'))
  await writeFile(join(folder, 'Dockerfile'), `FROM ${IMAGE}\nRUN echo built > /built\nUSER worker\nCMD ["cat", "/built"]\n`)
  afterAll(() => rm(folder, { recursive: true }))
  return { reference, missing: `${host}/vmkit-test/nothing:1`, archive: () => Readable.from([saved]), buildContext: folder }
}
