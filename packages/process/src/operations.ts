import { type DriverOperations, deferred, type VMDriver, type VMInfo, type VMSummary } from '@vmkit/core/driver'
import { readLogs } from '@vmkit/core/state-folder'
import type { capabilities } from './capabilities.js'
import { create } from './create.js'
import { DRIVER, invalidState } from './errors.js'
import { readEvents } from './events.js'
import { host as makeHost } from './host.js'
import { kill, pause, remove, resume, start, stop, wait } from './lifecycle.js'
import { limitsOf, resize } from './limits.js'
import { logsOf } from './logs.js'
import type { ResolvedOptions } from './options.js'
import { exitOf, readSnapshot, statusOf } from './run.js'
import { ifThere, type Machine } from './store.js'

type Operations = DriverOperations<typeof capabilities> & Required<Pick<VMDriver, 'find'>>

const FILES = ['files.read', 'files.write', 'files.list', 'files.remove', 'files.pack', 'files.unpack'] as const

/** What the methods of the driver do. Watches and timers belong to calls in flight, so there is nothing to close. */
export function operations(options: ResolvedOptions): Operations {
  const host = makeHost(options)
  const { store } = host

  function summary(machine: Machine): VMSummary {
    const { id, name, createdAt, config } = machine
    return { id, name, driver: DRIVER, state: statusOf(machine).state, labels: config.labels, createdAt }
  }

  function getInfo(id: string): VMInfo {
    const machine = store.get(id)
    const { run, ...status } = statusOf(machine)
    const running = status.state === 'running' || status.state === 'paused'
    const { config } = machine
    return {
      ...summary(machine),
      ...status,
      config: { ...config, ...limitsOf(machine) },
      addresses: running ? ['127.0.0.1'] : [],
      ports: config.ports.map(({ guest, hostIp, protocol }) => ({ guest, host: guest, hostIp, protocol })),
      startedAt: run?.startedAt ?? null,
      pid: running ? (run?.main?.pid ?? null) : null,
    }
  }

  return {
    // What not every app uses is loaded when it is used, here and below.
    probe: async () => (await import('./probe.js')).probe(host),

    create: async (config, ctx) => create(host, config, ctx),
    start: async (id, ctx) => start(host, store.get(id), ctx.signal),
    stop: async (id, request, ctx) => stop(store.get(id), request, ctx.signal),
    kill: async (id, signal) => kill(store.get(id), signal),
    delete: async (id, { force }, ctx) => remove(host, store.get(id), force, ctx.signal),
    pause: async (id, ctx) => pause(host, store.get(id), ctx.signal),
    resume: async (id, ctx) => resume(host, store.get(id), ctx.signal),
    wait: async (id, ctx) => wait(store.get(id), ctx.signal),

    async getStatus(id) {
      const { run: _run, ...status } = statusOf(store.get(id))
      return status
    },
    getInfo: async (id) => getInfo(id),
    getMetrics: async (id) => (await import('./metrics.js')).machineMetrics(store.get(id)),
    list: async (filter) => store.list(filter.name).flatMap((machine) => ifThere(() => summary(machine)) ?? []),
    find: async (idOrName) => store.find(idOrName),

    async execStream(id, request, ctx) {
      const machine = store.get(id)
      const { state } = statusOf(machine)
      if (state !== 'running') throw invalidState(id, 'exec', state)
      const { execStream } = await import('./exec.js')
      return execStream(host, machine, request, ctx.signal)
    },

    logs(id, request, ctx) {
      const machine = store.get(id)
      return readLogs({ ...logsOf(machine), hasEnded: () => hasEnded(machine, request.follow ?? false) }, request, ctx.signal)
    },

    attach: async (id) => (await import('./terminal.js')).attach(host, store.get(id)),
    events: (ctx) => readEvents(host.options.stateDir, store, ctx.signal),
    ...deferred(async () => ({ files: (await import('./files.js')).machineFiles(host) }), FILES),
    resize: async (id, request, ctx) => resize(host, store.get(id), request, ctx.signal),
  }
}

/** A machine that never ran has not ended for one who follows it. */
function hasEnded(machine: Machine, follow: boolean): boolean {
  try {
    const { run } = readSnapshot(machine)
    return run ? exitOf(run, () => readSnapshot(machine).run) !== undefined : !follow
  } catch {
    return true
  }
}
