import type { CallContext, VMEvent } from '@vmkit/core/driver'
import { hasCode } from './grpc/errors.js'
import { type Host, listMachines, type Machine, machineOf } from './host.js'
import { exitFrom, timeOf } from './inspect.js'
import { LABEL } from './record.js'

const TOPICS = ['/tasks/start', '/tasks/exit', '/tasks/paused', '/tasks/resumed', '/containers/']

/** What happens to machines of this driver, whoever does it, from the moment of the call on. */
export async function* readEvents(host: Host, ctx: CallContext): AsyncGenerator<VMEvent> {
  const containerd = await host.containerd()
  const filters = TOPICS.map((topic) => `namespace==${host.options.namespace},topic~=${JSON.stringify(`^${topic}`)}`)
  const envelopes = containerd.events.subscribe({ filters }, { signal: ctx.signal })[Symbol.asyncIterator]()
  // The first pull sends the subscription; what exists is read after it, so that nothing falls between the two.
  let pull = envelopes.next()
  pull.catch(() => {})
  const known = new Map<string, Machine>()
  try {
    for (const machine of await listMachines(host, ctx)) known.set(machine.containerId, machine)
    for (let result = await pull; !result.done; result = await pull) {
      const { event: any, timestamp } = result.value
      const packed = containerd.unpack(any)
      const at = timeOf(timestamp) ?? Date.now()
      const event = packed && (await toEvent(host, known, packed, at, ctx))
      if (event) yield event
      pull = envelopes.next()
    }
  } catch (error) {
    if (ctx.signal.aborted) return
    throw error
  } finally {
    pull.catch(() => {})
    await envelopes.return?.()
  }
}

type PackedEvent = NonNullable<ReturnType<Awaited<ReturnType<Host['containerd']>>['unpack']>>

async function toEvent(
  host: Host,
  known: Map<string, Machine>,
  { name, message }: PackedEvent,
  at: number,
  ctx: CallContext,
): Promise<VMEvent | undefined> {
  const base = ({ id, name: of }: Machine) => ({ driver: host.driver, id, name: of, at })
  switch (name) {
    case 'containerd.events.ContainerCreate': {
      const machine = await lookUp(host, message.id, ctx)
      if (!machine) return undefined
      known.set(message.id, machine)
      return { ...base(machine), type: 'created' }
    }
    case 'containerd.events.ContainerUpdate': {
      const machine = known.get(message.id)
      const [what, detail = ''] = (message.labels[LABEL.change] ?? '').split(':')
      if (!machine) return undefined
      if (what === 'resized') return { ...base(machine), type: 'resized' }
      if (what === 'snapshotted') return { ...base(machine), type: 'snapshotted', tag: detail }
      return what === 'restored' ? { ...base(machine), type: 'restored', tag: detail } : undefined
    }
    case 'containerd.events.ContainerDelete': {
      const machine = known.get(message.id)
      known.delete(message.id)
      return machine && { ...base(machine), type: 'deleted' }
    }
    case 'containerd.events.TaskStart':
    case 'containerd.events.TaskPaused':
    case 'containerd.events.TaskResumed': {
      const machine = known.get(message.containerId)
      const type = name === 'containerd.events.TaskStart' ? 'started' : name === 'containerd.events.TaskPaused' ? 'paused' : 'resumed'
      return machine && { ...base(machine), type }
    }
    case 'containerd.events.TaskExit': {
      const machine = known.get(message.containerId)
      // Commands end with the same event, under an id of their own.
      if (!machine || message.id !== message.containerId) return undefined
      return { ...base(machine), type: 'stopped', exit: exitFrom(message.exitStatus, timeOf(message.exitedAt), machine.record.cgroupsPath) }
    }
    default:
      return undefined
  }
}

async function lookUp(host: Host, containerId: string, ctx: CallContext): Promise<Machine | undefined> {
  const containerd = await host.containerd()
  try {
    const { container } = await containerd.containers.get({ id: containerId }, { signal: ctx.signal })
    return container && machineOf(host, container)
  } catch (error) {
    if (hasCode(error, 'NOT_FOUND')) return undefined
    throw error
  }
}
