import type { CallContext, DriverFiles } from '@vmkit/core/driver'
import { packTree, unpackTree } from './archive.js'
import type { Machine } from './machine.js'

/** The files of machines, by the driver's contract. `on` finds a machine, after latency and faults have had their way. */
export function machineFiles(
  on: (operation: string, id: string, ctx: CallContext) => Promise<Machine>,
  clock: { now(): number },
): Required<DriverFiles> {
  return {
    async *read(id, path, ctx) {
      const machine = await on('files.read', id, ctx)
      yield machine.files.read(machine.path(path))
    },
    async write(id, path, content, { mode = 0o644 }, ctx) {
      const machine = await on('files.write', id, ctx)
      const chunks: Uint8Array[] = []
      for await (const chunk of content) {
        ctx.signal.throwIfAborted()
        chunks.push(chunk)
      }
      machine.files.write(machine.path(path), { type: 'file', mode, modifiedAt: clock.now(), content: Buffer.concat(chunks) })
    },
    async list(id, path, ctx) {
      const machine = await on('files.list', id, ctx)
      return machine.files.list(machine.path(path))
    },
    async remove(id, path, ctx) {
      const machine = await on('files.remove', id, ctx)
      machine.files.remove(machine.path(path))
    },
    async *pack(id, path, ctx) {
      const machine = await on('files.pack', id, ctx)
      yield* packTree(machine.files, machine.path(path))
    },
    async unpack(id, path, tar, ctx) {
      const machine = await on('files.unpack', id, ctx)
      await unpackTree(machine.files, machine.path(path), tar)
    },
  }
}
