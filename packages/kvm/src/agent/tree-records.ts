/** The records in which the guest tells of files; `guest/src/files.c` is the other end. Pure. */
import { VMKitError } from '@vmkit/core/driver'
import { DRIVER } from '../errors.js'

export interface TreeRecord {
  /** f(ile), d(irectory), l(ink), o(ther); to the guest also h(ard link). */
  kind: string
  /** Below what was asked for; '' for that itself. */
  name: string
  target: string
  mode: number
  uid: number
  gid: number
  size: number
  /** Milliseconds since the epoch. */
  modifiedAt: number
  /** The next record comes when it has been read. */
  content: AsyncIterable<Uint8Array>
}

export function encodeRecord({ kind, name, target, mode, uid, gid, size, modifiedAt }: Omit<TreeRecord, 'content'>): Buffer {
  return Buffer.from(`${kind} ${mode.toString(8)} ${uid} ${gid} ${Math.round(modifiedAt)} ${size}\0${name}\0${target}\0`)
}

/** @param hasContent whether the bytes of each file follow its record */
export async function* readRecords(chunks: AsyncIterable<Uint8Array>, hasContent: boolean): AsyncGenerator<TreeRecord> {
  const source = chunks[Symbol.asyncIterator]()
  let pending: Buffer = Buffer.alloc(0)

  async function more(): Promise<boolean> {
    const { done, value } = await source.next()
    if (done) return false
    pending = pending.length === 0 ? Buffer.from(value) : Buffer.concat([pending, value])
    return true
  }

  /** Up to a NUL; `undefined` at the end of everything. */
  async function text(): Promise<string | undefined> {
    let from = 0
    for (;;) {
      const end = pending.indexOf(0, from)
      if (end >= 0) {
        const found = pending.toString('utf8', 0, end)
        pending = pending.subarray(end + 1)
        return found
      }
      from = pending.length
      if (await more()) continue
      if (pending.length === 0) return undefined
      throw brokenOff()
    }
  }

  async function* bytes(size: number): AsyncGenerator<Uint8Array> {
    for (let left = size; left > 0; ) {
      if (pending.length === 0 && !(await more())) throw brokenOff()
      const part = pending.subarray(0, Math.min(left, pending.length))
      pending = pending.subarray(part.length)
      left -= part.length
      yield part
    }
  }

  try {
    for (;;) {
      const fields = await text()
      if (fields === undefined) return
      const [kind = '', mode = '', uid, gid, modifiedAt, size] = fields.split(' ')
      const name = (await text()) ?? ''
      const target = (await text()) ?? ''
      const content = bytes(hasContent && kind === 'f' ? Number(size) : 0)
      yield {
        kind,
        name,
        target,
        mode: Number.parseInt(mode, 8),
        uid: Number(uid),
        gid: Number(gid),
        modifiedAt: Number(modifiedAt),
        size: Number(size),
        content,
      }
      for await (const _ of content);
    }
  } finally {
    await source.return?.()
  }
}

function brokenOff(): VMKitError {
  return new VMKitError('GUEST_ERROR', 'The guest broke off in the middle of a file', { driver: DRIVER })
}
