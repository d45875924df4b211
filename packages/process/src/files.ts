/**
 * Files below the working folder of a machine. Every path is resolved, symlinks included, before it is used, and must lie
 * below. A process of the machine that swaps a folder for a symlink in the middle of a call can still win that race: the
 * process runs with rights of its own on this host anyway.
 */
import { createReadStream, createWriteStream } from 'node:fs'
import { chmod, lstat, mkdir, readdir, realpath, rename, rm } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve, sep } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { type CallContext, type DriverFiles, type FileEntry, invalidConfig, type MachineConfig, VMKitError } from '@vmkit/core/driver'
import { errno, randomSuffix } from '@vmkit/core/state-folder'
import { DRIVER, systemError } from './errors.js'
import type { Host } from './host.js'
import { workdirOf } from './main-command.js'

export function machineFiles(host: Host): Required<DriverFiles> {
  const rootOf = (id: string): string => workdirOf(host.store.get(id))

  return {
    async *read(id, path, ctx) {
      const file = await existing(rootOf(id), path)
      if (!(await lstat(file)).isFile()) throw invalidConfig('path', 'a file', path, { driver: DRIVER })
      yield* createReadStream(file, { signal: ctx.signal })
    },
    write: async (id, path, content, { mode = 0o644 }, ctx) => writeBelow(rootOf(id), path, content, mode, ctx),
    list: async (id, path) => listFolder(await existing(rootOf(id), path)),
    async remove(id, path) {
      const root = await realpath(rootOf(id))
      const target = join(await existing(root, dirname(below(root, path))), basename(below(root, path)))
      if (target === root) throw invalidConfig('path', 'a path below the working folder', path, { driver: DRIVER })
      // The link itself, not what it points to.
      await lstat(target).catch((error: unknown) => Promise.reject(missingOr(error, path)))
      await rm(target, { recursive: true })
    },
    async *pack(id, path, ctx) {
      const { packFolder } = await import('./archive.js')
      yield* packFolder(host, await existing(rootOf(id), path), ctx.signal)
    },
    async unpack(id, path, tar, ctx) {
      const { unpackInto } = await import('./archive.js')
      const root = await realpath(rootOf(id))
      await unpackInto(host, await madeFolder(root, below(root, path)), tar, ctx.signal)
    },
  }
}

/** The `files` of a config, before the first start. */
export async function placeFiles(root: string, files: MachineConfig['files'], ctx: CallContext): Promise<void> {
  for (const [index, { path, content, mode }] of files.entries()) {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content
    await writeBelow(root, path, one(bytes), mode, ctx).catch((error: unknown) => {
      throw systemError(error, { operation: 'create', field: `config.files.${index}.path` })
    })
  }
}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

/** @throws VMKitError `INVALID_CONFIG` for a path that leaves `root` by its text alone */
function below(root: string, path: string): string {
  const full = resolve(root, path)
  if (full !== root && !full.startsWith(root + sep)) throw leaves(path)
  return full
}

function leaves(path: string): VMKitError {
  return invalidConfig('path', "a path inside the machine's working folder", path, { driver: DRIVER })
}

function missingOr(error: unknown, path: string): VMKitError {
  if (errno(error) === 'ENOENT' || errno(error) === 'ENOTDIR')
    return new VMKitError('NOT_FOUND', `There is no ${JSON.stringify(path)}`, { driver: DRIVER })
  return systemError(error)
}

/** Where a path leads, when that is still below. */
async function existing(root: string, path: string): Promise<string> {
  try {
    const top = await realpath(root)
    // An absolute path is given as the machine sees it, before links are resolved.
    const full = await realpath(join(top, relative(root, below(root, path.startsWith(top + sep) ? join(root, relative(top, path)) : path))))
    if (full !== top && !full.startsWith(top + sep)) throw leaves(path)
    return full
  } catch (error) {
    throw error instanceof VMKitError ? error : missingOr(error, path)
  }
}

/** Makes a folder level by level, so that no link on the way leads out. */
async function madeFolder(root: string, folder: string): Promise<string> {
  if (folder === root) return root
  const parent = await madeFolder(root, dirname(folder))
  const path = join(parent, basename(folder))
  await mkdir(path).catch((error: unknown) => {
    if (errno(error) !== 'EEXIST') throw systemError(error)
  })
  return existing(root, path)
}

async function writeBelow(root: string, path: string, content: AsyncIterable<Uint8Array>, mode: number, ctx: CallContext): Promise<void> {
  const top = await realpath(root)
  const inside = join(top, relative(root, below(root, path)))
  const target = below(top, inside)
  if (target === top) throw invalidConfig('path', 'a path below the working folder', path, { driver: DRIVER })
  const folder = await madeFolder(top, dirname(target))
  const temporary = join(folder, `.vmkit-${randomSuffix()}`)
  try {
    await pipeline(content, createWriteStream(temporary, { flags: 'wx', mode: 0o600 }), { signal: ctx.signal })
    await chmod(temporary, mode)
    // A link of that name is replaced, not followed.
    await rename(temporary, join(folder, basename(target)))
  } catch (error) {
    await rm(temporary, { force: true })
    throw systemError(error)
  }
}

async function listFolder(folder: string): Promise<FileEntry[]> {
  try {
    const names = await readdir(folder)
    return await Promise.all(
      names.map(async (name) => {
        const stat = await lstat(join(folder, name))
        const type = stat.isFile() ? 'file' : stat.isDirectory() ? 'directory' : stat.isSymbolicLink() ? 'symlink' : 'other'
        return { name, type, size: stat.size, mode: stat.mode & 0o7777, modifiedAt: Math.round(stat.mtimeMs) }
      }),
    )
  } catch (error) {
    if (errno(error) === 'ENOTDIR') throw invalidConfig('path', 'a folder', folder, { driver: DRIVER })
    throw systemError(error)
  }
}
