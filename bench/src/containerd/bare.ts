/** The calls that a machine takes, made one after the other by the client alone. */
import { randomBytes } from 'node:crypto'
import { constants, openSync, rmSync, writeFileSync } from 'node:fs'
import { Socket } from 'node:net'
import { join } from 'node:path'
import type { Containerd } from '../../../packages/containerd/src/grpc/connection.js'

/** What a machine of vmkit's is made of, taken from one. */
export interface Template {
  image: string
  snapshotter: string
  /** The snapshot of the image. */
  parent: string
  /** The OCI spec, as JSON. */
  spec: string
}

export async function templateOf(containerd: Containerd, id: string): Promise<Template> {
  const { container } = await containerd.containers.get({ id })
  if (!container?.spec) throw new Error(`${id} has no spec`)
  const { snapshotter, snapshotKey } = container
  const { info } = await containerd.snapshots.stat({ snapshotter, key: snapshotKey })
  return { image: container.image, snapshotter, parent: info?.parent ?? '', spec: Buffer.from(container.spec.value).toString() }
}

const SPEC_TYPE = 'types.containerd.io/opencontainers/runtime-spec/1/Spec'

/** create + start + wait + delete, with the output in two files. */
export async function bareCycle(containerd: Containerd, { image, snapshotter, parent, spec }: Template, folder: string): Promise<void> {
  const id = `bare-${randomBytes(6).toString('hex')}`
  const own = JSON.parse(spec) as { linux: { cgroupsPath: string } }
  own.linux.cgroupsPath = `/vmkit-bench/${id}`
  // Until a container names it, the collector of garbage would take it.
  const labels = { 'containerd.io/gc.root': new Date().toISOString() }
  const { mounts: rootfs } = await containerd.snapshots.prepare({ snapshotter, key: id, parent, labels })
  const value = Buffer.from(JSON.stringify(own))
  const runtime = { name: 'io.containerd.runc.v2' }
  await containerd.containers.create({
    container: { id, image, snapshotter, snapshotKey: id, runtime, spec: { typeUrl: SPEC_TYPE, value } },
  })
  const [stdout, stderr] = ['stdout', 'stderr'].map((name) => join(folder, `${id}.${name}`)) as [string, string]
  for (const path of [stdout, stderr]) writeFileSync(path, '')
  await containerd.tasks.create({ containerId: id, rootfs, stdout, stderr })
  const ended = containerd.tasks.wait({ containerId: id })
  await containerd.tasks.start({ containerId: id })
  if ((await ended).exitStatus !== 0) throw new Error('the bare machine failed')
  await containerd.tasks.delete({ containerId: id })
  await containerd.snapshots.remove({ snapshotter, key: id })
  await containerd.containers.delete({ id })
  for (const path of [stdout, stderr]) rmSync(path)
}

/** One command in a machine that runs, its output read from FIFOs that are there already. */
export async function bareExec(
  containerd: Containerd,
  containerId: string,
  fifos: readonly [string, string],
  args: readonly string[],
): Promise<void> {
  const execId = `bare-${randomBytes(6).toString('hex')}`
  const ends = fifos.map((path) => drained(path))
  const process = { args, cwd: '/', env: ['PATH=/bin'], user: { uid: 0, gid: 0 }, terminal: false, noNewPrivileges: false }
  const spec = { typeUrl: 'types.containerd.io/opencontainers/runtime-spec/1/Process', value: Buffer.from(JSON.stringify(process)) }
  await containerd.tasks.exec({ containerId, execId, stdout: fifos[0], stderr: fifos[1], spec })
  const ended = containerd.tasks.wait({ containerId, execId })
  await containerd.tasks.start({ containerId, execId })
  const { exitStatus } = await ended
  await Promise.all(ends)
  await containerd.tasks.deleteProcess({ containerId, execId })
  if (exitStatus !== 0) throw new Error(`the bare command ended with ${exitStatus}`)
}

function drained(path: string): Promise<void> {
  const socket = new Socket({ fd: openSync(path, constants.O_RDONLY | constants.O_NONBLOCK), readable: true, writable: false })
  return new Promise((resolve, reject) => {
    socket.resume().on('end', resolve).on('close', resolve).on('error', reject)
  })
}
