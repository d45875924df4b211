/**
 * JSON documents, one a line: what QMP and the guest agent speak. Bytes may be cut anywhere, also within a character.
 * Source: https://www.qemu.org/docs/master/interop/qmp-spec.html
 */
import { VMKitError } from '@vmkit/core/driver'

const NEWLINE = 0x0a
/** Never part of UTF-8: the guest agent sends it before the answer to `guest-sync-delimited`, so that a reader can find its place. */
const RESYNC = 0xff
const LONGEST = 64 * 2 ** 20

export interface DocumentReader {
  /** The documents that are whole now. @throws VMKitError `BACKEND_ERROR` for what is no JSON, or too long */
  push(data: Uint8Array): unknown[]
}

export interface ReaderOptions {
  /** Bytes that one document may have. Default 64 MiB. */
  longest?: number
  /** Lines that are no JSON are dropped instead of thrown: a guest may have left half an answer of an earlier reader. */
  skipGarbage?: boolean
}

export function encodeDocument(value: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(value)}\n`)
}

export function documentReader({ longest = LONGEST, skipGarbage = false }: ReaderOptions = {}): DocumentReader {
  let pieces: Uint8Array[] = []
  let size = 0

  function keep(piece: Uint8Array): void {
    size += piece.length
    if (size > longest) {
      pieces = []
      size = 0
      throw new VMKitError('BACKEND_ERROR', `An answer is longer than ${longest} bytes`, { driver: 'kvm' })
    }
    // A copy: the socket's buffer is far larger than the few bytes kept of it.
    if (piece.length > 0) pieces.push(Uint8Array.from(piece))
  }

  function takeLine(last: Uint8Array): string {
    keep(last)
    const text = Buffer.concat(pieces).toString('utf8').trim()
    pieces = []
    size = 0
    return text
  }

  return {
    push(data) {
      const documents: unknown[] = []
      let rest = data
      const resync = rest.lastIndexOf(RESYNC)
      if (resync >= 0) {
        pieces = []
        size = 0
        rest = rest.subarray(resync + 1)
      }
      for (let end = rest.indexOf(NEWLINE); end >= 0; end = rest.indexOf(NEWLINE)) {
        const text = takeLine(rest.subarray(0, end))
        rest = rest.subarray(end + 1)
        if (text !== '') parse(text, skipGarbage, documents)
      }
      keep(rest)
      return documents
    },
  }
}

function parse(text: string, skipGarbage: boolean, documents: unknown[]): void {
  try {
    documents.push(JSON.parse(text))
  } catch (error) {
    if (skipGarbage) return
    throw new VMKitError('BACKEND_ERROR', 'An answer is no JSON', { driver: 'kvm', cause: error })
  }
}
