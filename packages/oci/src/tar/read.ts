import { type ByteReader, streamBytes } from './bytes.js'
import { BLOCK, padding, type TarEntry, type TarHeader } from './entry.js'
import { applyPax, longName, parseHeader, parsePax, type RawHeader, TarError, typeOf } from './header.js'

/** Extended headers hold names and attributes; 1 MiB is far more than Linux allows of both. */
const LONGEST_EXTENDED = 2 ** 20
const DECODED_IN_FULL = new Set(['x', 'g', 'L', 'K'])

/**
 * The entries of a tar, in order. Reads on to the end of the source after the last one, so that a checksum over it holds.
 * @throws TarError for what is no tar or breaks off; what the source throws
 */
export async function* readTar(source: AsyncIterable<Uint8Array> | ByteReader): AsyncGenerator<TarEntry> {
  const bytes = 'take' in source ? source : streamBytes(source)
  const globals = new Map<string, Uint8Array>()
  let extension: Extension = {}
  try {
    while (true) {
      const block = await bytes.take(BLOCK)
      if (block.length === 0 && extension.isSet) throw truncated()
      // Some writers leave the two blocks of zeros at the end out.
      if (block.length === 0) return
      if (block.length < BLOCK) throw truncated()
      const raw = parseHeader(block)
      if (!raw) break
      if (!Number.isSafeInteger(raw.size) || raw.size < 0) throw new TarError('a header has a size that is none')
      if (DECODED_IN_FULL.has(raw.flag)) {
        await readExtension(bytes, raw, extension, globals)
        continue
      }
      const entry = finish(raw, extension, globals)
      extension = {}
      if (!entry) {
        await skipWhole(bytes, raw.size + padding(raw.size))
        continue
      }
      const end = bytes.position() + entry.size + padding(entry.size)
      yield { header: entry, offset: bytes.position(), content: () => contentOf(bytes, entry.size, end) }
      await skipWhole(bytes, end - bytes.position())
    }
    while (await bytes.some(2 ** 20)) {
      // Padding up to a record, and whatever else stands there: it counts for the checksum.
    }
  } finally {
    await bytes.close()
  }
}

interface Extension {
  isSet?: boolean
  records?: Map<string, Uint8Array>
  name?: string
  linkname?: string
}

async function readExtension(
  bytes: ByteReader,
  { flag, size }: RawHeader,
  extension: Extension,
  globals: Map<string, Uint8Array>,
): Promise<void> {
  if (size > LONGEST_EXTENDED) throw new TarError('an extended header is too long')
  const content = await bytes.take(size)
  if (content.length < size) throw truncated()
  await skipWhole(bytes, padding(size))
  if (flag === 'g') for (const [key, value] of parsePax(content)) globals.set(key, value)
  else extension.isSet = true
  if (flag === 'x') extension.records = parsePax(content)
  if (flag === 'L') extension.name = longName(content)
  if (flag === 'K') extension.linkname = longName(content)
}

/** `undefined` for an entry of a kind that nobody needs, such as a volume label. */
function finish(raw: RawHeader, { name, linkname, records }: Extension, globals: ReadonlyMap<string, Uint8Array>): TarHeader | undefined {
  const named = { ...raw, ...(name === undefined ? {} : { name }), ...(linkname === undefined ? {} : { linkname }) }
  const { flag, ...header } = applyPax(applyPax(named, globals), records ?? new Map())
  if (flag === 'S') throw new TarError('it has a sparse file, which is not supported')
  const type = typeOf(flag)
  if (!type) {
    // Vendors' own kinds are to be treated as files (POSIX); volume labels and the like have no content to lose.
    if (flag === 'V' || flag === 'M' || flag === 'D') return undefined
    throw new TarError(`it has an entry of the unknown kind ${JSON.stringify(flag)}`)
  }
  // Before POSIX a folder was a file whose name ends with a slash.
  if (type === 'file' && header.name.endsWith('/')) return { ...header, type: 'directory', size: header.size }
  return { ...header, type, size: type === 'file' ? header.size : 0 }
}

async function* contentOf(bytes: ByteReader, size: number, end: number): AsyncGenerator<Uint8Array> {
  const last = end - padding(size)
  while (bytes.position() < last) {
    const chunk = await bytes.some(last - bytes.position())
    if (!chunk) throw truncated()
    yield chunk
  }
}

async function skipWhole(bytes: ByteReader, length: number): Promise<void> {
  if (length > 0 && (await bytes.skip(length)) < length) throw truncated()
}

const truncated = () => new TarError('it breaks off in the middle')
