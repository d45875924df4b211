import { randomBytes } from 'node:crypto'
import { posix } from 'node:path'
import { type CallContext, type DriverFiles, invalidConfig, VMKitError } from '@vmkit/core/driver'
import type { Inner } from '../inner.js'
import { checkedTar } from './checked-tar.js'
import { parseListing } from './listing.js'
import { ACCOUNTS, DISCARD, LIST, PACK, PLACE, READ, RECEIVE, REMOVE, UNPACK } from './scripts.js'
import { runInside, textInside } from './shell.js'

/**
 * Files of a sandbox: while it runs by programs of its image, else through its snapshot, as containerd has them. What the guest
 * has mounted must not be written from outside too.
 */
export function guestFiles(inner: Inner): Required<DriverFiles> {
  const { files: outside } = inner
  const run = (id: string, path: string, text: string, ctx: CallContext, args: readonly string[] = []) =>
    textInside(inner, id, path, { text, args: [inGuest(path), ...args] }, ctx)
  return {
    async *read(id, path, ctx) {
      if (!(await isInside(inner, id, ctx))) yield* outside.read(id, path, ctx)
      else yield* runInside(inner, id, path, { text: READ, args: [inGuest(path)] }, ctx)
    },
    async write(id, path, content, options, ctx) {
      if (!(await isInside(inner, id, ctx))) return outside.write(id, path, content, options, ctx)
      const temporary = `.vmkit-${randomBytes(8).toString('hex')}`
      const { mode = 0o644 } = options
      if (isFolderName(path)) throw invalidConfig('path', 'the path of a file', path)
      try {
        await textInside(inner, id, path, { text: RECEIVE, args: [inGuest(path), temporary], input: content }, ctx)
        await run(id, path, PLACE, ctx, [temporary, mode.toString(8)])
      } catch (error) {
        await run(id, path, DISCARD, unaborted(), [temporary]).catch(() => {})
        throw error
      }
    },
    async list(id, path, ctx) {
      if (!(await isInside(inner, id, ctx))) return outside.list(id, path, ctx)
      return parseListing(await run(id, path, LIST, ctx))
    },
    async remove(id, path, ctx) {
      if (!(await isInside(inner, id, ctx))) return outside.remove(id, path, ctx)
      if (isFolderName(path)) throw invalidConfig('path', 'a path below the root', path)
      await run(id, path, REMOVE, ctx)
    },
    async *pack(id, path, ctx) {
      if (!(await isInside(inner, id, ctx))) yield* outside.pack(id, path, ctx)
      else yield* runInside(inner, id, path, { text: PACK, args: [inGuest(path)] }, ctx)
    },
    async unpack(id, path, tar, ctx) {
      if (!(await isInside(inner, id, ctx))) return outside.unpack(id, path, tar, ctx)
      await textInside(inner, id, path, { text: UNPACK, args: [inGuest(path)], input: checkedTar(tar, ctx.signal) }, ctx)
    },
  }
}

/** The accounts of a sandbox that runs, for a user who is given by name. */
export async function accountsInside(inner: Inner, id: string, ctx: CallContext): Promise<{ passwd: string; group: string }> {
  const output = await textInside(inner, id, '/etc/passwd', { text: ACCOUNTS, args: [] }, ctx)
  const [passwd = '', group = ''] = output.toString('utf8').split('\0')
  return { passwd, group }
}

/** @throws VMKitError `INVALID_STATE` for a paused one, whose programs stand still and whose disk is in use */
async function isInside(inner: Inner, id: string, ctx: CallContext): Promise<boolean> {
  const { state } = await inner.getStatus(id, ctx)
  if (state !== 'paused') return state === 'running' || state === 'stopping'
  throw new VMKitError('INVALID_STATE', 'The files of a sandbox are reached by programs in it, and this one is paused', {
    driver: 'kata',
    vmId: id,
    hint: 'Resume or stop it',
  })
}

/** Relative paths count from the workdir, in which every command starts; no path can be taken for an option. */
function inGuest(path: string): string {
  const clean = posix.normalize(path).replace(/(?<=.)\/$/, '')
  return clean.startsWith('/') ? clean : `./${clean}`
}

function isFolderName(path: string): boolean {
  return ['', '.', '..'].includes(posix.basename(posix.normalize(path)))
}

const CLEANUP_MS = 20_000

function unaborted(): CallContext {
  return { signal: AbortSignal.timeout(CLEANUP_MS), deadline: undefined, report: () => {} }
}
