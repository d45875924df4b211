import { randomUUID } from 'node:crypto'
import { type CallContext, type MachineConfig, type MigrationTicket, type OptionalDriverMethods, VMKitError } from '@vmkit/core/driver'
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
      const ticket: MigrationTicket = { driver: 'mock', id: randomUUID() }
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
      const machine = new Machine(place.config, target.surroundings, { files: source.files, memory: live ? source.memory : undefined })
      for (const [tag, saved] of source.snapshots) machine.snapshots.set(tag, saved)
      const wasPaused = source.state === 'paused'
      if (live) {
        await machine.start()
        if (wasPaused) machine.pause()
        source.config.restart = undefined
        await source.stop('SIGKILL', 0, ctx.signal)
      }
      place.machine = machine
      return { downtimeMs: 0, bytes: source.files.bytes }
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

const FORMAT = 'vmkit-mock-bundle@1'

interface Bundle {
  format: typeof FORMAT
  config: MachineConfig
  files: { path: string; mode: number; content: string }[]
}

/** A bundle that only the mock reads: it has no disk that another driver could use. */
export function mockBundles(backend: MockBackend): Required<Pick<OptionalDriverMethods, 'exportBundle' | 'importBundle'>> {
  return {
    async *exportBundle(id, ctx: CallContext) {
      await enterCall(backend, 'exportBundle', ctx)
      const { config, files } = backend.get(id)
      const entries = files
        .below('/')
        .flatMap(([path, node]) => (node.content ? [{ path, mode: node.mode, content: Buffer.from(node.content).toString('base64') }] : []))
      const bundle: Bundle = { format: FORMAT, config: { ...config, files: [] }, files: entries }
      yield Buffer.from(JSON.stringify(bundle))
    },
    async importBundle(stream, { name, labels }, ctx) {
      await enterCall(backend, 'importBundle', ctx)
      const chunks: Uint8Array[] = []
      for await (const chunk of stream) chunks.push(chunk)
      const bundle = readBundle(Buffer.concat(chunks).toString('utf8'))
      const userLabels = Object.entries(bundle.config.labels).filter(([key]) => !key.startsWith('vmkit.'))
      const config: MachineConfig = {
        ...bundle.config,
        name: name ?? bundle.config.name,
        labels: { ...Object.fromEntries(userLabels), ...labels },
      }
      const machine = new Machine(config, backend.surroundings)
      for (const { path, mode, content } of bundle.files) {
        machine.files.write(path, { type: 'file', mode, modifiedAt: machine.createdAt, content: Buffer.from(content, 'base64') })
      }
      backend.add(machine)
      machine.emit({ type: 'created' })
      return { id: machine.id }
    },
  }
}

function readBundle(text: string): Bundle {
  try {
    const bundle = JSON.parse(text) as Bundle
    if (bundle.format === FORMAT) return bundle
  } catch {
    // told below
  }
  throw new VMKitError('INVALID_CONFIG', `\`bundle\`: expected ${FORMAT}, got something else`, { field: 'bundle' })
}
