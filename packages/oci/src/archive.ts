import { type FileHandle, open } from 'node:fs/promises'
import { posix } from 'node:path'
import { VMKitError } from '@vmkit/core/driver'
import { decompress, detectCompression } from './decompress.js'
import { openDockerArchive } from './docker-archive.js'
import { badImage, codeOf, throwIfAborted } from './errors.js'
import { type Files, readRange } from './files.js'
import { INDEX_FILE, LAYOUT_FILE, openStoredLayout } from './layout.js'
import type { ErrorContext, ImageSource, OpenOptions } from './source.js'
import { type Spooled, spool } from './spool.js'
import type { Stored } from './stored.js'
import { fileBytes } from './tar/bytes.js'
import { TarError } from './tar/header.js'
import { readTar } from './tar/read.js'

/** More files than any image has layers; a bomb has more. */
const MOST_FILES = 100_000

/**
 * Opens an image in a tar: an OCI image layout or what `docker save` writes, also compressed with gzip or zstd. What it is
 * shows by its content, not by its name.
 * @param archive a path, or a stream, which is first kept in a temporary file
 * @throws `INVALID_CONFIG` when it is no such archive; `IMAGE_NOT_FOUND` without the platform or name asked for
 */
export async function openArchive(archive: string | AsyncIterable<Uint8Array>, options: OpenOptions = {}): Promise<ImageSource> {
  const { errors = {}, signal } = options
  const files = await openTarFiles(archive, { errors, signal })
  try {
    return await openArchiveFiles({ files, origin: originOf(archive), errors }, options)
  } catch (error) {
    await files.close()
    throw error
  }
}

const originOf = (archive: string | AsyncIterable<Uint8Array>) => (typeof archive === 'string' ? archive : 'the archive')

export async function openArchiveFiles(stored: Stored, options: OpenOptions): Promise<ImageSource> {
  if ((await stored.files.size(LAYOUT_FILE)) !== undefined && (await stored.files.size(INDEX_FILE)) !== undefined) {
    return openStoredLayout(stored, options)
  }
  if ((await stored.files.size('manifest.json')) !== undefined) return openDockerArchive(stored, options)
  throw badImage(`${stored.origin} is no image: it has neither ${LAYOUT_FILE} nor manifest.json`, stored.errors)
}

/** The files of a tar, by name. Compressed ones are unpacked into a temporary file, so that every part can be reached. */
export async function openTarFiles(
  archive: string | AsyncIterable<Uint8Array>,
  { errors = {}, signal }: Pick<OpenOptions, 'errors' | 'signal'>,
): Promise<Files & { names(): Iterable<string> }> {
  throwIfAborted(signal)
  const origin = originOf(archive)
  const opened = await openPlain(archive, errors, signal)
  try {
    const places = await indexTar(opened.file, signal)
    return {
      names: () => places.keys(),
      size: async (path) => places.get(path)?.size,
      async *read(path, options) {
        const { offset, size } = places.get(path) ?? { offset: 0, size: 0 }
        yield* readRange(opened.file, offset, size, options)
      },
      close: opened.close,
    }
  } catch (error) {
    await opened.close()
    throw error instanceof TarError ? badImage(`${origin} is no tar that can be read: ${error.message}`, errors, { cause: error }) : error
  }
}

interface Opened {
  file: FileHandle
  close(): Promise<void>
}

async function openPlain(archive: string | AsyncIterable<Uint8Array>, errors: ErrorContext, signal?: AbortSignal): Promise<Opened> {
  const spooled = typeof archive === 'string' ? undefined : await spool(archive, signal)
  const opened = await openFile(spooled?.path ?? (archive as string), spooled, errors)
  try {
    const { file } = opened
    const start = Buffer.alloc(4)
    await file.read(start, 0, start.length, 0)
    const compression = detectCompression(start)
    if (compression === 'none') return opened
    const { size } = await file.stat()
    const plain = await spool(decompress(readRange(file, 0, size, { signal }), compression, errors), signal)
    await opened.close()
    return await openFile(plain.path, plain, errors)
  } catch (error) {
    await opened.close()
    throw error
  }
}

async function openFile(path: string, spooled: Spooled | undefined, errors: ErrorContext): Promise<Opened> {
  let file: FileHandle
  try {
    file = await open(path, 'r')
  } catch (error) {
    await spooled?.remove()
    if (codeOf(error) === 'EACCES') throw new VMKitError('PERMISSION_DENIED', `${path} may not be read`, { ...errors, cause: error })
    throw badImage(`The archive ${path} cannot be opened: ${(error as Error).message}`, errors, { cause: error })
  }
  let isOpen = true
  const close = async () => {
    if (!isOpen) return
    isOpen = false
    await file.close()
    await spooled?.remove()
  }
  if ((await file.stat()).isFile()) return { file, close }
  await close()
  throw badImage(`${path} is no file`, errors)
}

interface Place {
  offset: number
  size: number
}

async function indexTar(file: FileHandle, signal?: AbortSignal): Promise<Map<string, Place>> {
  const places = new Map<string, Place>()
  const links: [string, string][] = []
  const { size } = await file.stat()
  for await (const { header, offset } of readTar(fileBytes(file, size))) {
    throwIfAborted(signal)
    const name = posix.normalize(header.name)
    if (header.type === 'file') places.set(name, { offset, size: header.size })
    // Docker before 25 writes a layer that it has twice as a link.
    else if (header.type === 'symlink') links.push([name, posix.join(posix.dirname(name), header.linkname)])
    else if (header.type === 'hardlink') links.push([name, posix.normalize(header.linkname)])
    if (places.size + links.length > MOST_FILES) throw new TarError(`it has more than ${MOST_FILES} files`)
  }
  for (const [name, target] of links) {
    const place = places.get(target)
    if (place && !places.has(name)) places.set(name, place)
  }
  return places
}
