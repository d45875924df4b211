import { posix } from 'node:path'
import { Readable } from 'node:stream'
import { VMKitError } from '@vmkit/core'
import { type CallContext, type DriverFiles, type FileEntry, invalidConfig } from '@vmkit/core/driver'
import { hasCode, transportError } from './errors.js'
import { execStream } from './exec.js'
import type { FileHolder, Machines } from './machines.js'
import { spool } from './spool.js'
import { loadTar } from './tar.js'

const MOST_LINKS = 40
/** Bytes that an engine reads of a body that it refuses; with more it hangs up, and its answer may be lost. */
const MOST_UNREAD = 2 ** 17

/** What the engine says of a path, in the header `X-Docker-Container-Path-Stat`. */
interface PathStat {
  name: string
  size: number
  mode: number
  linkTarget: string
}

// Bits of Go's os.FileMode.
const GO_DIRECTORY = 2 ** 31
const GO_SYMLINK = 2 ** 27

export function dockerFiles(machines: Machines): Required<DriverFiles> {
  return {
    async *read(id, path, ctx) {
      const found = await machines.find(id, ctx)
      const target = await resolveLinks(found, absolute(found, path), ctx)
      if (isDirectory(target.stat))
        throw new VMKitError('GUEST_ERROR', `${path} is a folder`, { driver: 'docker', vmId: id, hint: 'Use files.list or copyOut' })
      const { answer, parser } = await openArchive(found, target.path, ctx)
      try {
        for await (const entry of parser) {
          yield* entry as AsyncIterable<Uint8Array>
          return
        }
      } catch (error) {
        throw transportError(error, found.engine.endpoint.target, ctx.signal)
      } finally {
        answer.destroy()
      }
    },
    async write(id, path, content, { mode = 0o644 }, ctx) {
      await writeFile(await machines.find(id, ctx), path, content, mode, ctx)
    },
    async list(id, path, ctx) {
      const found = await machines.find(id, ctx)
      const target = await resolveLinks(found, absolute(found, path), ctx)
      const entries: FileEntry[] = []
      const { answer, parser } = await openArchive(found, target.path, ctx)
      try {
        for await (const entry of parser) {
          const { name, type, size, mode, mtime } = entry.header
          const relative = isDirectory(target.stat) ? name.split('/').slice(1).join('/').replace(/\/$/, '') : posix.basename(name)
          if (relative !== '' && !relative.includes('/'))
            entries.push({
              name: relative,
              type: kindOf(type),
              size: size ?? 0,
              mode: (mode ?? 0) & 0o7777,
              modifiedAt: mtime?.getTime() ?? null,
            })
          entry.resume()
        }
      } catch (error) {
        throw transportError(error, found.engine.endpoint.target, ctx.signal)
      } finally {
        answer.destroy()
      }
      return entries
    },
    async remove(id, path, ctx) {
      const found = await machines.find(id, ctx)
      const target = absolute(found, path)
      await stat(found, target, ctx)
      const session = await execStream(machines, id, { command: ['rm', '-rf', '--', target], user: '0' }, ctx).catch((error: unknown) => {
        if (!hasCode(error, 'INVALID_STATE')) throw error
        throw new VMKitError('INVALID_STATE', 'The Engine API removes no files, so the machine must run for it', {
          driver: 'docker',
          vmId: id,
          cause: error,
        })
      })
      const words: Uint8Array[] = []
      for await (const { data } of session.output) words.push(data)
      const { exitCode } = await session.wait()
      if (exitCode !== 0)
        throw new VMKitError(
          'GUEST_ERROR',
          `Removing ${path} needs \`rm\` in the machine, and it failed: ${Buffer.concat(words).toString('utf8').trim()}`,
          { driver: 'docker', vmId: id },
        )
    },
    async *pack(id, path, ctx) {
      const found = await machines.find(id, ctx)
      const answer = await found.engine.stream(archive(found, 'GET', absolute(found, path), ctx))
      try {
        yield* answer
      } catch (error) {
        throw transportError(error, found.engine.endpoint.target, ctx.signal)
      } finally {
        answer.destroy()
      }
    },
    async unpack(id, path, content, ctx) {
      const found = await machines.find(id, ctx)
      const target = absolute(found, path)
      // Read to its end first: a bad entry, or a tar that breaks off, must not leave half of it in the machine.
      await using spooled = await spool(content, { signal: ctx.signal })
      await checkEntries(spooled.read())
      const existing = await nearestFolder(found, target, ctx)
      if (existing.missing.length > 0) await put(found, existing.path, await folders(existing.missing), ctx)
      await put(found, target, spooled.read(), ctx)
    },
  }
}

/** Replaces one file; missing parent folders are made, present ones stay as they are. */
export async function writeFile(
  found: FileHolder,
  path: string,
  content: Uint8Array | AsyncIterable<Uint8Array>,
  mode: number,
  ctx: CallContext,
): Promise<void> {
  const target = absolute(found, path)
  const parent = posix.dirname(target)
  const name = posix.basename(target)
  if (name === '' || target === '/') throw invalidConfig('path', 'the path of a file', path)
  await using spooled = await spool(content instanceof Uint8Array ? [content] : content, { signal: ctx.signal })
  const upload = async (base: string, missing: readonly string[]) => {
    const pack = (await loadTar()).pack()
    for (const folder of prefixes(missing)) pack.entry({ name: folder, type: 'directory', mode: 0o755 })
    const entry = pack.entry({ name: [...missing, name].join('/'), mode, size: spooled.size, mtime: new Date() }, (error) =>
      error ? pack.destroy(error) : pack.finalize(),
    )
    if (entry) spooled.read().pipe(entry)
    return put(found, base, Readable.from(pack, { objectMode: false }), ctx)
  }
  if (spooled.size <= MOST_UNREAD) {
    const isDone = await upload(parent, []).then(
      () => true,
      (error: unknown) => {
        if (hasCode(error, 'NOT_FOUND')) return false
        throw error
      },
    )
    if (isDone) return
  }
  const existing = await nearestFolder(found, parent, ctx)
  await upload(existing.path, existing.missing)
}

function prefixes(names: readonly string[]): string[] {
  return names.map((_, index) => names.slice(0, index + 1).join('/'))
}

async function folders(names: readonly string[]): Promise<Readable> {
  const pack = (await loadTar()).pack()
  for (const folder of prefixes(names)) pack.entry({ name: folder, type: 'directory', mode: 0o755 })
  pack.finalize()
  return Readable.from(pack, { objectMode: false })
}

async function nearestFolder(found: FileHolder, path: string, ctx: CallContext): Promise<{ path: string; missing: string[] }> {
  const missing: string[] = []
  for (let current = path; current !== '/'; current = posix.dirname(current)) {
    const present = await stat(found, current, ctx).catch((error: unknown) => {
      if (hasCode(error, 'NOT_FOUND')) return undefined
      throw error
    })
    if (present) return { path: current, missing }
    missing.unshift(posix.basename(current))
  }
  return { path: '/', missing }
}

/** @throws VMKitError `INVALID_CONFIG` for an entry that would leave the target, or a tar that breaks off */
async function checkEntries(content: Readable): Promise<void> {
  const parser = (await loadTar()).extract()
  content.on('error', (error) => parser.destroy(error)).pipe(parser)
  try {
    for await (const entry of parser) {
      const { name, type, linkname } = entry.header
      if (leaves(name) || (type === 'link' && linkname && leaves(linkname)))
        throw invalidConfig('tar', 'entries that stay below the target path', name)
      entry.resume()
    }
  } catch (error) {
    if (error instanceof VMKitError) throw error
    throw new VMKitError('INVALID_CONFIG', `The tar cannot be read: ${(error as Error).message}`, {
      driver: 'docker',
      field: 'tar',
      cause: error,
    })
  }
}

function leaves(name: string): boolean {
  const path = posix.normalize(name)
  return path.startsWith('/') || path === '..' || path.startsWith('../')
}

async function put(found: FileHolder, path: string, content: Readable, ctx: CallContext): Promise<void> {
  await found.engine.json(archive(found, 'PUT', path, ctx, content))
}

function archive(found: FileHolder, method: 'GET' | 'PUT' | 'HEAD', path: string, ctx: CallContext, file?: Readable) {
  refusePattern(found, path)
  return {
    method,
    path: `${found.path}/archive`,
    query: { path },
    signal: ctx.signal,
    context: { vmId: found.id },
    ...(file ? { file } : {}),
  }
}

/** Podman takes a path for a pattern, which could match another file; escaping does not help (seen with 4.3). */
function refusePattern({ engine, id }: FileHolder, path: string): void {
  if (!engine.isPodman || !/[*?[\]\\]/.test(path)) return
  throw new VMKitError(
    'UNSUPPORTED',
    `Podman cannot reach the path ${path}: it takes \`*\`, \`?\`, brackets and backslashes for a pattern`,
    {
      driver: 'docker',
      vmId: id,
      field: 'path',
    },
  )
}

async function openArchive(found: FileHolder, path: string, ctx: CallContext) {
  const answer = await found.engine.stream(archive(found, 'GET', path, ctx))
  const parser = (await loadTar()).extract()
  answer.on('error', (error) => parser.destroy(error)).pipe(parser)
  return { answer, parser }
}

/** @throws VMKitError `NOT_FOUND` */
async function stat(found: FileHolder, path: string, ctx: CallContext): Promise<PathStat> {
  // An answer to HEAD has no body, so the engine's words are lost.
  const answer = await found.engine.stream(archive(found, 'HEAD', path, ctx)).catch((error: unknown) => {
    throw hasCode(error, 'NOT_FOUND')
      ? new VMKitError('NOT_FOUND', `There is no ${path} in the machine`, { driver: 'docker', vmId: found.id })
      : error
  })
  answer.resume()
  return JSON.parse(Buffer.from(String(answer.headers['x-docker-container-path-stat']), 'base64').toString('utf8')) as PathStat
}

/** The archive call gives a symbolic link itself; readers mean what it points to. */
async function resolveLinks(found: FileHolder, path: string, ctx: CallContext): Promise<{ path: string; stat: PathStat }> {
  let current = path
  for (let hops = 0; hops < MOST_LINKS; hops += 1) {
    const info = await stat(found, current, ctx)
    if ((info.mode & GO_SYMLINK) === 0) return { path: current, stat: info }
    current = posix.resolve(posix.dirname(current), info.linkTarget)
  }
  throw new VMKitError('GUEST_ERROR', `${path} goes through too many symbolic links`, { driver: 'docker', vmId: found.id })
}

function isDirectory({ mode }: PathStat): boolean {
  return mode >= GO_DIRECTORY
}

function absolute({ facts }: FileHolder, path: string): string {
  return posix.resolve('/', facts.workdir, path)
}

function kindOf(type: string | null | undefined): FileEntry['type'] {
  if (type === 'directory' || type === 'symlink') return type
  return type === 'file' || type === 'contiguous-file' || type === 'link' ? 'file' : 'other'
}
