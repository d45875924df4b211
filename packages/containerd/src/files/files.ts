import { posix } from 'node:path'
import type { CallContext, DriverFiles } from '@vmkit/core/driver'
import { findMachine, type Host, type Machine } from '../host.js'
import { packIn, unpackIn } from './archive.js'
import { withRootfs } from './mount.js'
import { listIn, readFileIn, removeIn, writeFileIn } from './operations.js'

/** Files of a machine that runs, as its process sees them, or of its snapshot while it is stopped. */
export function machineFiles(host: Host): DriverFiles & Required<Pick<DriverFiles, 'pack' | 'unpack'>> {
  return {
    async *read(id, path, ctx) {
      const machine = await findMachine(host, id, ctx)
      yield* withRootfs(host, machine, ctx, (root) => readFileIn(root, absolute(machine, path)))
    },
    write: (id, path, content, { mode = 0o644 }, ctx) =>
      once(host, id, path, ctx, (root, target) => writeFileIn(root, target, content, mode, ctx.signal)),
    list: (id, path, ctx) => once(host, id, path, ctx, listIn),
    remove: (id, path, ctx) => once(host, id, path, ctx, removeIn),
    async *pack(id, path, ctx) {
      const machine = await findMachine(host, id, ctx)
      yield* withRootfs(host, machine, ctx, (root) => packIn(root, absolute(machine, path)))
    },
    unpack: (id, path, tar, ctx) => once(host, id, path, ctx, (root, target) => unpackIn(root, target, tar, ctx.signal)),
  }
}

async function once<T>(
  host: Host,
  id: string,
  path: string,
  ctx: CallContext,
  work: (root: string, path: string) => Promise<T>,
): Promise<T> {
  const machine = await findMachine(host, id, ctx)
  const results: T[] = []
  for await (const result of withRootfs(host, machine, ctx, async function* (root) {
    yield await work(root, absolute(machine, path))
  }))
    results.push(result)
  return results[0] as T
}

function absolute({ record }: Machine, path: string): string {
  return posix.resolve('/', record.workdir, path)
}
