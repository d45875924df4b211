import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { conformance, shellCommand, type Workload } from '@vmkit/conformance'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { type ContainerdOptions, containerd } from '../src/driver.js'
import { hasCode } from '../src/grpc/errors.js'
import { ownDaemon, removeDefaultNetwork } from './daemon.js'
import { archiveOf, backendEnv, connect, dropNamespace, ensureTestImage, IMAGE, pushTestImage, sockets, testImage } from './engine.js'

const runner = { describe, it, before: beforeAll, after: afterAll }

/** The kit's commands, but busybox's nc wants other options. */
function command(workload: Workload): string[] {
  if (workload.does === 'serve') return ['nc', '-ll', '-p', String(workload.port), '-e', '/bin/hello']
  return shellCommand(workload)
}

async function fixture(socketPath: string | undefined, extra: Partial<ContainerdOptions> = {}) {
  // Of this run alone, so that what another run has is not counted as left by this one.
  const namespace = `vmkit-kit${extra.namespace ?? ''}-${process.pid}`
  const stateDir = mkdtempSync(join(tmpdir(), 'vmkit-containerd-kit-'))
  const options = { stateDir, socketPath: socketPath ?? '/run/vmkit-no-such.sock', ...extra, namespace }
  if (socketPath !== undefined) await ensureTestImage(socketPath, namespace)
  afterAll(async () => {
    await removeDefaultNetwork(options)
    if (socketPath === undefined) return
    await dropNamespace(socketPath, namespace).catch((error: unknown) => {
      // A daemon of this run alone has gone before it.
      if (!hasCode(error, 'BACKEND_UNAVAILABLE')) throw error
    })
  })
  afterAll(() => rmSync(stateDir, { recursive: true, force: true }))
  return {
    runner,
    createDriver: () => containerd(options),
    child: { module: new URL('../dist/driver.js', import.meta.url).href, export: 'containerd', options },
    machine: (workload: Workload) => ({ image: IMAGE, pull: 'never' as const, command: command(workload) }),
    command,
    leftovers: () => leftovers(socketPath, namespace, stateDir),
    async foreign() {
      const link = connect(socketPath as string, namespace)
      const client = await link.get()
      const id = `kit-foreign-${process.pid}`
      const spec = { typeUrl: 'types.containerd.io/opencontainers/runtime-spec/1/Spec', value: Buffer.from('{}') }
      await client.containers.create({ container: { id, image: IMAGE, runtime: { name: 'io.containerd.runc.v2' }, spec } })
      return {
        id,
        name: id,
        async remove() {
          await client.containers.delete({ id })
          link.close()
        },
      }
    },
  }
}

/** Snapshots of machines, leases, mounts, network namespaces, and what is in the state folder. */
async function leftovers(socketPath: string | undefined, namespace: string, stateDir: string): Promise<string[]> {
  if (socketPath === undefined) return []
  const link = connect(socketPath, namespace)
  try {
    const client = await link.get()
    const lines: string[] = []
    for await (const { info } of client.snapshots.list({ snapshotter: 'overlayfs' }))
      lines.push(...info.filter(({ kind }) => kind === 2).map(({ name }) => `snapshot ${name}`))
    lines.push(...(await client.leases.list({})).leases.map(({ id }) => `lease ${id}`))
    lines.push(
      ...readFileSync('/proc/self/mountinfo', 'utf8')
        .split('\n')
        .filter((line) => line.includes(stateDir))
        .map((line) => `mount ${line.split(' ')[4]}`),
    )
    for (const folder of ['machines', 'netns', 'fifos']) lines.push(...entries(join(stateDir, namespace, folder)))
    lines.push(...entries(join(stateDir, 'ports')), ...entries(join(stateDir, 'members')))
    return lines
  } finally {
    link.close()
  }
}

function entries(folder: string): string[] {
  try {
    // FIFOs of programs that live are theirs.
    return readdirSync(folder)
      .filter((name) => !name.startsWith(`${process.pid}.`))
      .map((name) => join(folder, name))
  } catch {
    return []
  }
}

const target = sockets['2']
const registry = backendEnv('VMKIT_REGISTRY')

conformance({
  ...(await fixture(sockets['1.6'])),
  ...(target === undefined ? {} : { createTarget: (await fixture(target, { namespace: '-target' })).createDriver }),
  ...(registry === undefined ? {} : { images: await imagesOf(registry) }),
})

// What a newer daemon can do differently. They are daemons of their own, because they are taken away on the way. The second one
// has the logger, for what only it can.
for (const version of ['1.7', '2'] as const) {
  const like = sockets[version]
  const own = like === undefined ? undefined : await ownDaemon(like)
  conformance({
    ...(await fixture(own?.socketPath, { namespace: `-${version}`, ...(version === '2' ? { logs: { mode: 'timestamps' } } : {}) })),
    variant: version,
    only: ['lifecycle', 'exit', 'logs', 'exec', 'exec-streams', 'events', 'restart', 'snapshot', 'backend-down'],
    ...(own ? { disrupt: { down: own.stop, up: own.start } } : {}),
  })
  afterAll(async () => own?.[Symbol.asyncDispose]())
}

/** An image that only the loopback registry has, and an archive of another one. */
async function imagesOf(host: string) {
  const reference = `${host}/vmkit-test/containerd-kit:1`
  await pushTestImage(reference)
  return { reference, missing: `${host}/vmkit-test/nothing:1`, archive: () => archive() }
}

async function* archive(): AsyncGenerator<Uint8Array> {
  yield* archiveOf(await testImage('vmkit-test/archived:1'))
}
