import type { DriverOperations, VMDriver } from '@vmkit/core/driver'
import { adoption } from './adoption.js'
import { guestFiles } from './agent/files.js'
import { kvmImages } from './boot/image-store.js'
import { exportBundle, importBundle } from './bundle.js'
import type { capabilities } from './capabilities.js'
import { create } from './create.js'
import { attachDevice, detachDevice } from './devices.js'
import type { KvmExtras } from './driver.js'
import { readEvents } from './events.js'
import { makeHost } from './host.js'
import { remove, start, stop } from './lifecycle.js'
import { readLogs } from './logs.js'
import type { Incomings } from './migrate/incoming.js'
import { tellJoined } from './net/names.js'
import { kvmNetworks } from './net/networks.js'
import type { ResolvedOptions } from './options.js'
import { kill, pause, reset, wait } from './running.js'
import { screenshot, vncEndpoint } from './screen.js'
import { statusOf } from './state/run.js'
import { infoOf, summaryOf } from './status.js'
import { kvmVolumes } from './volumes.js'

type Operations = DriverOperations<typeof capabilities> & Required<Pick<VMDriver, 'find' | 'close'>> & KvmExtras

/** All that the driver does; what it says of itself is in `driver.ts`. */
export function operations(options: ResolvedOptions): Operations {
  const host = makeHost(options)
  const { store } = host
  const adopted = adoption(host)
  const snapshots = () => import('./snapshots/snapshots.js')
  let incoming: Promise<Incomings> | undefined
  const arrivals = (): Promise<Incomings> => (incoming ??= import('./migrate/incoming.js').then(({ incomings }) => incomings(host)))

  return {
    probe: async (ctx) => (await import('./probe.js')).probe(host, ctx),
    create: (config, ctx) => create(host, config, ctx),
    start: async (id, ctx) => start(host, store.get(id), ctx),
    stop: async (id, request, ctx) => stop(host, store.get(id), request, ctx),
    kill: async (id, signal, ctx) => kill(store.get(id), signal, ctx),
    delete: async (id, { force }, ctx) => remove(host, store.get(id), force, ctx),
    pause: async (id, ctx) => pause(store.get(id), 'pause', ctx),
    async resume(id, ctx) {
      const machine = store.get(id)
      await pause(machine, 'resume', ctx)
      // While it stood still nobody could tell it who came and went.
      await tellJoined(host, machine, ctx.signal)
    },
    async wait(id, ctx) {
      const machine = store.get(id)
      const exit = await wait(host, machine, ctx)
      adopted.notice(machine, 'stopped')
      return exit
    },

    async getStatus(id) {
      const machine = store.get(id)
      const { run: _run, ...status } = statusOf(machine.folder)
      adopted.notice(machine, status.state)
      return status
    },
    async getInfo(id, ctx) {
      const machine = store.get(id)
      const info = await infoOf(host, machine, ctx)
      adopted.notice(machine, info.state)
      return info
    },
    getMetrics: async (id, ctx) => (await import('./metrics.js')).readMetrics(store.get(id), ctx),
    list: async (filter) => store.list(filter.name).map((machine) => summaryOf(machine)),
    find: async (idOrName) => store.find(idOrName),

    logs: (id, request, ctx) => readLogs(store.get(id), request, ctx.signal),
    events: (ctx) => readEvents(host, ctx.signal),
    console: async (id, ctx) => (await import('./console.js')).openConsole(store.get(id), ctx),
    vnc: async (id) => vncEndpoint(store.get(id)),
    screenshot: async (id, ctx) => screenshot(store.get(id), ctx),
    attachDevice: async (id, device, ctx) => attachDevice(host, store.get(id), device, ctx),
    detachDevice: async (id, deviceId, ctx) => detachDevice(host, store.get(id), deviceId, ctx),
    resize: async (id, request, ctx) => (await import('./resize.js')).resize(host, store.get(id), request, ctx),

    snapshot: async (id, tag, request, ctx) => (await snapshots()).snapshot(host, store.get(id), tag, request, ctx),
    restore: async (id, tag, ctx) => (await snapshots()).restore(host, store.get(id), tag, ctx),
    listSnapshots: async (id) => (await snapshots()).listSnapshots(store.get(id)),
    exportBundle: (id, ctx) => exportBundle(host, store.get(id), ctx),
    importBundle: async (bundle, request, ctx) => importBundle(host, bundle, request, ctx),
    clone: async (id, request, ctx) => (await import('./snapshots/clone.js')).clone(host, store.get(id), request, ctx),
    prepareIncoming: async (offer, ctx) => (await arrivals()).prepare(offer, ctx),
    migrateOut: async (id, ticket, request, ctx) =>
      (await import('./migrate/send.js')).migrateOut(host, store.get(id), ticket, request, ctx),
    finishIncoming: async (ticket) => (await arrivals()).finish(ticket),
    cancelIncoming: async (ticket) => (await arrivals()).cancel(ticket),
    deleteSnapshot: async (id, tag, ctx) => (await snapshots()).deleteSnapshot(host, store.get(id), tag, ctx),

    async reset(idOrName, { signal = never() } = {}) {
      const machine = store.get(store.find(idOrName))
      await reset(machine, { signal })
      await tellJoined(host, machine, signal)
    },
    guestInfo: async (idOrName, { signal = never() } = {}) =>
      (await import('./about/ask-guest.js')).askGuest(host, store.get(store.find(idOrName)), signal),

    images: kvmImages(host),
    volumes: kvmVolumes(store),
    networks: kvmNetworks(host),
    files: guestFiles(host),
    attach: async (id, ctx) => (await import('./attach.js')).attach(host, store.get(id), ctx),
    execStream: async (id, request, ctx) => (await import('./agent/exec.js')).execStream(host.guests, store.get(id), request, ctx),

    // Watches and timers belong to calls in flight, and end with them.
    async close() {
      await adopted.close()
      await (await incoming)?.close()
      host.guests.close()
    },
  }
}

function never(): AbortSignal {
  return new AbortController().signal
}
