/** Between the guest's records and tar streams. */
import { posix } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { invalidConfig } from '@vmkit/core/driver'
import { DRIVER } from '../errors.js'
import { encodeRecord, type TreeRecord } from './tree-records.js'

const TYPES = { f: 'file', d: 'directory', l: 'symlink' } as const

/** Names are below `.`, as `tar -C path .` makes them; a single file has the name that it is asked by. */
export async function* recordsToTar(records: AsyncIterable<TreeRecord>, basename: string): AsyncGenerator<Uint8Array> {
  const { pack: newPack } = (await import('tar-stream')).default
  const pack = newPack()
  const filling = (async () => {
    for await (const { kind, name, target, mode, uid, gid, size, modifiedAt, content } of records) {
      const type = TYPES[kind as keyof typeof TYPES]
      // Sockets and devices stay behind.
      if (type === undefined) continue
      const path = name === '' ? (type === 'directory' ? '.' : `./${basename}`) : `./${name}`
      const header = { name: path, type, mode, uid, gid, mtime: new Date(modifiedAt), ...(type === 'symlink' ? { linkname: target } : {}) }
      if (type !== 'file') {
        await new Promise<void>((resolve, reject) => pack.entry(header, (error) => (error ? reject(error) : resolve())))
        continue
      }
      await pipeline(Readable.from(content, { objectMode: false }), pack.entry({ ...header, size }))
    }
    pack.finalize()
  })()
  filling.catch((error: Error) => pack.destroy(error))
  try {
    yield* pack as AsyncIterable<Uint8Array>
    await filling
  } finally {
    pack.destroy()
  }
}

const KINDS: Readonly<Record<string, string>> = { file: 'f', 'contiguous-file': 'f', directory: 'd', symlink: 'l', link: 'h' }

/**
 * What is in a tar, but for devices and FIFOs; h(ard links) too, whose target is a name like its own.
 * @throws VMKitError `INVALID_CONFIG` for an entry that would leave the folder, and for what is no tar
 */
export async function* tarEntries(tar: AsyncIterable<Uint8Array>): AsyncGenerator<TreeRecord> {
  const { extract: newExtract } = (await import('tar-stream')).default
  const extract = newExtract()
  const feeding = pipeline(Readable.from(tar, { objectMode: false }), extract)
  feeding.catch(() => {})
  /** Links that came in the tar: nothing may be placed through them. */
  const links = new Set<string>()
  for await (const entry of extract) {
    const { header } = entry
    const kind = KINDS[header.type ?? 'file']
    if (kind === undefined) {
      entry.resume()
      continue
    }
    const name = below(header.name, links)
    const target = kind === 'h' ? below(header.linkname ?? '', links) : (header.linkname ?? '')
    // A second name of a link is one, too.
    if (kind === 'l' || (kind === 'h' && links.has(target))) links.add(name)
    yield {
      kind,
      name,
      target,
      mode: header.mode ?? 0o644,
      uid: header.uid ?? 0,
      gid: header.gid ?? 0,
      size: kind === 'f' ? (header.size ?? 0) : 0,
      modifiedAt: header.mtime?.getTime() ?? 0,
      content: entry as AsyncIterable<Uint8Array>,
    }
    entry.resume()
  }
  await feeding.catch((error: Error) => {
    throw invalidConfig('tar', `an uncompressed tar (${error.message})`, undefined, { driver: DRIVER })
  })
}

/** As the guest reads it. */
export async function* tarToRecords(tar: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const { content, ...record } of tarEntries(tar)) {
    yield encodeRecord(record)
    if (record.kind === 'f') yield* content
  }
}

function below(name: string, links: ReadonlySet<string>): string {
  const path = posix.normalize(name).replace(/\/+$/, '')
  const parts = path.split('/')
  if (path.startsWith('/') || parts[0] === '..') throw escapes(name)
  for (let depth = 1; depth < parts.length; depth += 1) if (links.has(parts.slice(0, depth).join('/'))) throw escapes(name)
  return path === '.' ? '' : path
}

function escapes(name: string): Error {
  return invalidConfig('tar', 'entries that stay below the folder', name, { driver: DRIVER })
}
