import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Progress } from '@vmkit/core'
import { VMKitError } from '@vmkit/core/driver'
import { abortReason, badImage, codeOf, throwIfAborted } from '../errors.js'
import { layerTar } from '../layer.js'
import type { ErrorContext, ImageSource } from '../source.js'
import { outOfSpace } from '../spool.js'
import type { EntryType, TarEntry } from '../tar/entry.js'
import { TarError } from '../tar/header.js'
import { readTar } from '../tar/read.js'
import { disk } from './disk.js'
import { type Layers, layersOn } from './layers.js'
import { EscapeError, walk } from './tree.js'

export interface UnpackOptions {
  /**
   * `apply`: owners, devices and extended attributes are set; needs root. `record`: they are returned, for who writes a file
   * system from them; needs no root, and the folder can be read by its owner throughout.
   */
  ownership: 'apply' | 'record'
  /** Most entries of all layers together. Default 1 000 000. */
  maxEntries?: number
  /** Most bytes of all files together. Default: no limit. */
  maxBytes?: number
  signal?: AbortSignal
  /** Bytes of the uncompressed layer that were read, with its digest as the item. */
  report?(progress: Progress): void
  errors?: ErrorContext
}

/** What a file of the image is, where the folder cannot show it. */
export interface FileRecord {
  /** In the image: absolute; the root is `/`. */
  path: string
  type: Exclude<EntryType, 'hardlink'>
  uid: number
  gid: number
  /** Permission bits with setuid, setgid and sticky. */
  mode: number
  /** Milliseconds since the epoch. */
  mtimeMs: number
  /** Devices and FIFOs stand only here: they are not made with `record`. */
  device?: { major: number; minor: number }
  xattrs?: Record<string, Uint8Array>
}

export interface Unpacked {
  /** Entries read, of all layers. */
  entries: number
  /** Bytes of files written. */
  bytes: number
  /** With `record`: everything that the image has, folders before what is in them, with every name of a hard-linked file. */
  records: FileRecord[]
  /** With `apply`: what could not be set, such as extended attributes on a host without `setfattr`. */
  skipped: { path: string; reason: string }[]
}

/**
 * Unpacks the layers into a folder, the lowest first, with whiteouts, hard links, modes and times; every layer is verified.
 * @param folder must be empty or missing, and is so again after a failure; nobody else may write to it meanwhile
 * @throws `INVALID_CONFIG` for a broken layer, and for an entry that would leave the folder: nothing outside is touched;
 * `RESOURCE_EXHAUSTED` past a limit or on a full disk; `PERMISSION_DENIED` for `apply` without root; `ALREADY_EXISTS`
 */
export async function unpackImage(source: ImageSource, folder: string, options: UnpackOptions): Promise<Unpacked> {
  const { ownership, signal, errors = {} } = options
  throwIfAborted(signal)
  if (ownership === 'apply' && process.getuid?.() !== 0) {
    throw new VMKitError('PERMISSION_DENIED', 'Only root can give files to their owners', {
      ...errors,
      hint: 'Unpack with ownership: "record"',
    })
  }
  const made = await mkdir(folder, { recursive: true, mode: 0o700 })
  if (made === undefined && (await readdir(folder)).length > 0) {
    throw new VMKitError('ALREADY_EXISTS', `The folder ${folder} is not empty`, { ...errors, field: 'folder' })
  }
  try {
    const target = disk(folder, ownership)
    const layers = layersOn(target)
    const counts = { entries: 0, bytes: 0 }
    for (const layer of source.manifest.layers) {
      layers.next()
      await unpackLayer(layerTar(source, layer, { signal, errors }), layer.digest, layers, counts, options)
    }
    const skipped = await target.finish(layers.root)
    return { ...counts, records: ownership === 'record' ? records(layers) : [], skipped }
  } catch (error) {
    for (const name of await readdir(folder)) await rm(join(folder, name), { recursive: true, force: true })
    if (made !== undefined) await rm(made, { recursive: true, force: true })
    throw signal?.aborted ? abortReason(signal) : unpackError(error, source, errors)
  }
}

const MOST_ENTRIES = 1_000_000
const REPORT_EVERY = 8 * 2 ** 20

async function unpackLayer(
  tar: AsyncIterable<Uint8Array>,
  digest: string,
  layers: Layers,
  counts: { entries: number; bytes: number },
  { maxEntries = MOST_ENTRIES, maxBytes = Number.POSITIVE_INFINITY, report, signal }: UnpackOptions,
): Promise<void> {
  let told = 0
  let seen = 0
  const tell = (total: number | null) => {
    told = seen
    report?.({ phase: 'extract', item: digest, current: seen, total, unit: 'bytes' })
  }
  const counted = (async function* () {
    for await (const chunk of tar) {
      throwIfAborted(signal)
      seen += chunk.length
      if (seen - told >= REPORT_EVERY) tell(null)
      yield chunk
    }
  })()
  for await (const entry of readTar(counted)) {
    counts.entries += 1
    counts.bytes += entry.header.size
    if (counts.entries > maxEntries) throw tooMuch(`more than ${maxEntries} entries`)
    if (counts.bytes > maxBytes) throw tooMuch(`more than ${maxBytes} bytes of files`)
    await placeEntry(layers, entry)
  }
  tell(seen)
  throwIfAborted(signal)
}

async function placeEntry(layers: Layers, entry: TarEntry): Promise<void> {
  try {
    await layers.place(entry)
  } catch (error) {
    if (error instanceof EscapeError) throw new TarError(`${JSON.stringify(entry.header.name)} cannot be unpacked: ${error.message}`)
    throw error
  }
}

const tooMuch = (what: string) => new VMKitError('RESOURCE_EXHAUSTED', `The image has ${what}`)

function records({ root }: Layers): FileRecord[] {
  return [...walk(root)].map(({ parts, node }) => {
    const { linkname: _linkname, ...attributes } = node.attributes
    return { path: `/${parts.join('/')}`, ...attributes }
  })
}

/** Names that the file system of the folder does not take are the image's fault. */
const BAD_NAMES = new Set(['ENAMETOOLONG', 'EILSEQ', 'ERR_INVALID_ARG_VALUE', 'EEXIST', 'EMLINK'])

function unpackError(error: unknown, source: ImageSource, errors: ErrorContext): unknown {
  if (error instanceof VMKitError) return error.with(errors)
  if (error instanceof TarError)
    return badImage(`A layer of ${source.origin} cannot be unpacked: ${error.message}`, errors, { cause: error })
  const code = codeOf(error) ?? ''
  if (BAD_NAMES.has(code))
    return badImage(`A layer of ${source.origin} cannot be unpacked: ${(error as Error).message}`, errors, { cause: error })
  if (code === 'EACCES' || code === 'EPERM') return VMKitError.from(error, { code: 'PERMISSION_DENIED', ...errors })
  return outOfSpace(error)
}
