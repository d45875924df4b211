import type { CallContext, ResizeRequest } from '@vmkit/core/driver'
import { withLock } from '@vmkit/core/state-folder'
import { resourcesAny, specAny, specOf } from '../any.js'
import { cgroupTraits } from '../cgroup.js'
import { findMachine, type Host, updateMachine } from '../host.js'
import { machineOptions } from '../machine-options.js'
import { extensionsOf } from '../record.js'
import { resourcesOf } from '../spec/resources.js'

/** First the cgroup, then the record: what is told is what holds, and the next run has it too. */
export async function resize(host: Host, id: string, request: ResizeRequest, ctx: CallContext): Promise<void> {
  const { folder } = await findMachine(host, id, ctx)
  await withLock({ id, folder: folder.path }, 'resize', ctx.signal, async () => {
    const machine = await findMachine(host, id, ctx)
    const { container, containerId, record } = machine
    const containerd = await host.containerd()
    const options = machineOptions(record.config, host.driver)
    // A limit of memory and swap together would be below the new memory, unless it moves along.
    const changed = resourcesOf(
      request,
      request.memory === undefined ? {} : { memorySwap: options.memorySwap ?? request.memory },
      cgroupTraits().swap,
    )
    await containerd.tasks.update({ containerId, resources: resourcesAny(changed) }, { signal: ctx.signal, vmId: id })
    record.config = { ...record.config, ...request }
    const spec = specOf(container.spec)
    if (spec) {
      const { devices } = spec.linux.resources
      spec.linux.resources = { ...(devices ? { devices } : {}), ...resourcesOf(record.config, options, cgroupTraits().swap) }
      container.spec = { ...container.spec, ...specAny(spec) } as typeof container.spec
    }
    container.extensions = extensionsOf(record) as typeof container.extensions
    await updateMachine(host, machine, 'resized', ['spec', 'extensions'])
  })
}
