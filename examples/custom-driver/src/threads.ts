/** A complete vmkit driver. A machine is a worker thread of this program; `command` is its JavaScript file and arguments. */
import { EventEmitter, once } from 'node:events'
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { Worker } from 'node:worker_threads'
import { registerDriver } from '@vmkit/core'
import { invalidConfig, type VMDriver, type VMExit, type VMInfo, VMKitError } from '@vmkit/core/driver'

// The backend is this process: every instance of the driver sees the same threads, and they die with it (durability `app`).
const machines = new Map<string, VMInfo>()
const running = new Map<string, Worker>()
const bell = new EventEmitter().setMaxListeners(0)
const capabilities = Object.freeze({})

export const threads = (): VMDriver<typeof capabilities> => ({
  name: 'threads',
  apiVersion: 1,
  capabilities,
  fields: Object.freeze(['command', 'env', 'stop'] as const),
  durability: 'app',
  isolation: 'none',
  probe: async () => ({ available: true, engine: `Node.js ${process.version}`, missing: {} }),
  async create(config) {
    const { name, labels, stop, command: [file = ''] = [] } = config
    if (!existsSync(file)) throw invalidConfig('config.command', 'a JavaScript file and its arguments', file)
    if (stop.signal && !(stop.signal in constants.signals)) throw invalidConfig('config.stop.signal', 'the name of a signal', stop.signal)
    const isTaken = [...machines.values()].some((other) => other.name === name)
    if (isTaken) throw new VMKitError('ALREADY_EXISTS', `The name ${name} is taken`, { field: 'config.name' })
    const own = { id: crypto.randomUUID(), createdAt: Date.now(), startedAt: null, pid: null, addresses: [], ports: [] }
    machines.set(own.id, { ...own, driver: 'threads', name, labels, config, state: 'created' })
    return { id: own.id }
  },
  async start(id, { signal }) {
    const machine = find(id)
    if (running.has(id)) return
    const { env, command: [file = '', ...argv] = [] } = machine.config
    const worker = new Worker(file, { env, argv })
    running.set(id, worker)
    Object.assign(machine, { state: 'running', startedAt: Date.now(), reason: undefined })
    worker.on('error', console.error) // it also exits, with code 1
    worker.on('exit', (code) => {
      const how = machine.reason ? { code: null, signal: 'SIGKILL', reason: 'signalled' } : { code, signal: null, reason: 'exited' }
      Object.assign(machine, { state: 'stopped', exit: { ...how, oom: null, at: Date.now() } })
      running.delete(id)
      bell.emit('change')
    })
    await Promise.race([once(worker, 'online', { signal }), once(worker, 'exit')]).catch((error) => {
      send(id, 'SIGKILL')
      throw error
    })
  },
  async stop(id, { signal = 'SIGTERM', graceMs }, ctx) {
    send(id, signal)
    const timer = setTimeout(send, graceMs, id, 'SIGKILL')
    await until(() => !running.has(id), ctx.signal).finally(() => clearTimeout(timer))
  },
  kill: async (id, signal) => send(id, signal),
  async delete(id, { force }, ctx) {
    if (running.has(id) && !force) throw new VMKitError('INVALID_STATE', 'Cannot delete a thread that is running')
    send(id, 'SIGKILL')
    await until(() => !running.has(id), ctx.signal)
    machines.delete(id)
    bell.emit('change')
  },
  getStatus: async (id) => ({ ...find(id) }),
  getInfo: async (id) => ({ ...find(id) }),
  getMetrics: async () => ({ source: 'none' }), // Node.js tells nothing, and what is left out becomes null
  list: async () => [...machines.values()],
  async wait(id, { signal }) {
    await until(() => find(id).exit !== undefined && !running.has(id), signal)
    return find(id).exit as VMExit
  },
  close: async () => running.forEach((worker) => void worker.unref()),
})

function find(id: string): VMInfo {
  const machine = machines.get(id)
  if (!machine) throw new VMKitError('NOT_FOUND', `There is no thread ${id}`)
  return machine
}

async function until(isSo: () => boolean, signal: AbortSignal): Promise<void> {
  while (!isSo()) await once(bell, 'change', { signal })
}

/** Threads have no signals: SIGKILL ends the thread, any other reaches it as a message with the signal's name. */
function send(id: string, signal: string): void {
  if (!(signal in constants.signals)) throw invalidConfig('signal', 'the name of a signal', signal)
  if (signal !== 'SIGKILL') return void running.get(find(id).id)?.postMessage(signal)
  find(id).reason = 'it was killed'
  void running.get(id)?.terminate()
}

declare module '@vmkit/core' {
  interface DriverRegistry {
    threads: { options: Record<string, never>; capabilities: typeof capabilities; machineOptions: never }
  }
}
registerDriver({ name: 'threads', apiVersion: 1, package: 'custom-driver', capabilities, create: threads })
