import { createReadStream } from 'node:fs'
import { lstat, readdir, readFile, readlink, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type BuildRequest, type CallContext, invalidConfig } from '@vmkit/core/driver'
import type { Pack } from 'tar-stream'
import { dockerignore } from './dockerignore.js'
import type { Engine } from './engine.js'
import { transportError } from './errors.js'
import { followProgress } from './progress.js'
import { loadTar } from './tar.js'

/** Builds with the engine's own builder, which every engine has: nothing but the folder goes to it. */
export async function buildImage(engine: Engine, request: BuildRequest, ctx: CallContext): Promise<void> {
  const { context, tag, dockerfile = 'Dockerfile', args, target } = request
  const found = await stat(context).catch(() => undefined)
  if (!found?.isDirectory())
    throw invalidConfig('request.context', 'a folder that exists', context, { driver: 'docker', operation: 'build' })
  const isIgnored = dockerignore(await readFile(join(context, '.dockerignore'), 'utf8').catch(() => ''), [dockerfile, '.dockerignore'])
  const pack = (await loadTar()).pack()
  const packing = addFolder(pack, context, '', isIgnored).then(
    () => pack.finalize(),
    (error: unknown) => pack.destroy(error as Error),
  )
  try {
    const answer = await engine.stream({
      method: 'POST',
      path: '/build',
      query: { t: tag, dockerfile, target, rm: true, forcerm: true, ...(args ? { buildargs: JSON.stringify(args) } : {}) },
      file: Readable.from(pack, { objectMode: false }),
      signal: ctx.signal,
      context: { operation: 'build' },
    })
    try {
      await followProgress(answer, 'build', engine.endpoint.target, ctx)
    } finally {
      answer.destroy()
    }
  } catch (error) {
    pack.destroy()
    throw transportError(error, engine.endpoint.target, ctx.signal)
  }
  await packing
}

async function addFolder(pack: Pack, root: string, folder: string, isIgnored: (path: string) => boolean): Promise<void> {
  for (const name of (await readdir(join(root, folder))).sort()) {
    const path = folder === '' ? name : `${folder}/${name}`
    const full = join(root, path)
    const { mode, mtime, size, isFile, isDirectory, isSymbolicLink } = await facts(full)
    // A folder is walked even when it is ignored: a later `!` line may take something below it in again.
    if (isDirectory) {
      if (!isIgnored(path)) pack.entry({ name: path, type: 'directory', mode, mtime })
      await addFolder(pack, root, path, isIgnored)
    } else if (isIgnored(path)) {
    } else if (isSymbolicLink) {
      pack.entry({ name: path, type: 'symlink', linkname: await readlink(full), mode, mtime })
    } else if (isFile) {
      await pipeline(createReadStream(full), pack.entry({ name: path, mode, mtime, size }))
    }
  }
}

async function facts(path: string) {
  const found = await lstat(path)
  return {
    mode: found.mode & 0o7777,
    mtime: found.mtime,
    size: found.size,
    isFile: found.isFile(),
    isDirectory: found.isDirectory(),
    isSymbolicLink: found.isSymbolicLink(),
  }
}
