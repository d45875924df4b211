import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { conformance, shellCommand, type Workload } from '@vmkit/conformance'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { containerd } from '../src/driver.js'
import { connect, ensureTestImage, IMAGE, sockets } from './engine.js'

const runner = { describe, it, before: beforeAll, after: afterAll }

/** The kit's commands, but busybox's nc wants other options. */
function command(workload: Workload): string[] {
  if (workload.does === 'serve') return ['nc', '-ll', '-p', String(workload.port), '-e', '/bin/hello']
  return shellCommand(workload)
}

async function fixture(version: keyof typeof sockets, purpose: string) {
  const socketPath = sockets[version]
  const namespace = `vmkit-kit-${purpose}`
  const stateDir = mkdtempSync(join(tmpdir(), 'vmkit-containerd-kit-'))
  afterAll(() => rmSync(stateDir, { recursive: true, force: true }))
  const options = { namespace, stateDir, ...(socketPath === undefined ? { socketPath: '/run/vmkit-no-such.sock' } : { socketPath }) }
  if (socketPath !== undefined) await ensureTestImage(socketPath, namespace)
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
      await client.containers.create({
        container: { id, image: IMAGE, runtime: { name: 'io.containerd.runc.v2' }, spec: { typeUrl: 'x', value: new Uint8Array(0) } },
      })
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

conformance(await fixture('1.6', 'whole'))
