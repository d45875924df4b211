import { type MigrationTicket, type OptionalDriverMethods, VMKitError } from '@vmkit/core/driver'
import type { MockBackend } from './backend.js'
import { enterCall } from './images.js'
import { Machine } from './machine.js'

/** Backends that await a machine, by ticket: what a network would be between real hosts. */
const awaiting = new Map<string, MockBackend>()

type MigrationMethods = Required<Pick<OptionalDriverMethods, 'prepareIncoming' | 'migrateOut' | 'finishIncoming' | 'cancelIncoming'>>

export function mockMigration(backend: MockBackend): MigrationMethods {
  return {
    async prepareIncoming(offer, ctx) {
      await enterCall(backend, 'prepareIncoming', ctx)
      const { name } = offer.config
      for (const { config } of backend.machines.values()) {
        if (config.name === name)
          throw new VMKitError('ALREADY_EXISTS', `The target has a machine named ${name} already`, { field: 'config.name' })
      }
      const ticket: MigrationTicket = { driver: 'mock', id: crypto.randomUUID() }
      backend.incoming.set(ticket.id, { config: offer.config })
      awaiting.set(ticket.id, backend)
      return ticket
    },
    async migrateOut(id, ticket, { live }, ctx) {
      await enterCall(backend, 'migrateOut', ctx)
      const source = backend.get(id)
      const target = awaiting.get(ticket.id)
      const place = target?.incoming.get(ticket.id)
      if (!target || !place) throw new VMKitError('NOT_FOUND', 'Nobody awaits this ticket')
      target.check()
      const machine = new Machine(place.config, target.surroundings, { disk: source.disk, memory: live ? source.memory : undefined })
      for (const [tag, saved] of source.snapshots) machine.snapshots.set(tag, saved)
      const wasPaused = source.state === 'paused'
      if (live) {
        await machine.start()
        if (wasPaused) machine.pause()
        source.config.restart = undefined
        await source.stop('SIGKILL', 0, ctx.signal)
      }
      place.machine = machine
      return { downtimeMs: 0, bytes: source.disk.bytes }
    },
    async finishIncoming(ticket, ctx) {
      await enterCall(backend, 'finishIncoming', ctx)
      const machine = backend.incoming.get(ticket.id)?.machine
      if (!machine) throw new VMKitError('NOT_FOUND', 'No machine has arrived for this ticket')
      backend.add(machine)
      forget(backend, ticket)
      machine.emit({ type: 'migrated' })
      return { id: machine.id }
    },
    async cancelIncoming(ticket) {
      const machine = backend.incoming.get(ticket.id)?.machine
      forget(backend, ticket)
      await machine?.stop('SIGKILL', 0, new AbortController().signal)
    },
  }
}

function forget(backend: MockBackend, ticket: MigrationTicket): void {
  backend.incoming.delete(ticket.id)
  awaiting.delete(ticket.id)
}
