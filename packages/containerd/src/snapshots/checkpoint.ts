/** Memory of a task, saved by CRIU into the content store. */
import { type CallContext, VMKitError } from '@vmkit/core/driver'
import type { Descriptor } from '@vmkit/oci'
import type { Containerd } from '../grpc/connection.js'
import type { Host, Machine } from '../host.js'
import { labelContent } from '../images/content.js'
import { descriptorOf } from '../images/descriptor.js'

/** containerd's media type of the files that CRIU writes, as a tar. */
const CRIU_TAR = 'application/vnd.containerd.container.criu.checkpoint.criu.tar'

/** The task must be frozen: containerd's API does not freeze it. It goes on afterwards. */
export async function checkpointTask(
  host: Host,
  { id, containerId }: Machine,
  lease: string,
  { signal, report }: CallContext,
): Promise<Descriptor> {
  const containerd = await host.containerd()
  report({ phase: 'memory', message: 'saving the memory' })
  const options = containerd.pack('containerd.runc.v1.CheckpointOptions', {
    openTcp: true,
    externalUnixSockets: true,
    terminal: true,
    fileLocks: true,
  })
  const { descriptors } = await containerd.tasks.checkpoint({ containerId, options }, { signal, lease, vmId: id })
  const saved = descriptors.find(({ mediaType }) => mediaType === CRIU_TAR)
  if (!saved) throw new VMKitError('BACKEND_ERROR', 'containerd saved no memory', { driver: host.driver, vmId: id })
  return descriptorOf(saved)
}

/** The saved memory lives as long as the disk that it belongs to, by its manifest. */
export async function holdMemory(
  containerd: Containerd,
  manifest: string,
  memory: string,
  { signal }: Pick<CallContext, 'signal'>,
): Promise<void> {
  await labelContent(containerd, manifest, { 'containerd.io/gc.ref.content.vmkit-memory': memory }, signal)
}
