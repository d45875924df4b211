/** What a guest says of files, by errno(3), as errors. */
import { VMKitError } from '@vmkit/core/driver'
import { DRIVER } from '../errors.js'

interface Kind {
  code: 'NOT_FOUND' | 'PERMISSION_DENIED' | 'RESOURCE_EXHAUSTED' | 'GUEST_ERROR'
  text: string
  /** strerror(3) in the C locale, by which those tell it that have no numbers. */
  words?: string
}

const KINDS: Readonly<Record<number, Kind>> = {
  1: { code: 'PERMISSION_DENIED', text: 'not permitted', words: 'Operation not permitted' },
  2: { code: 'NOT_FOUND', text: 'there is no such file', words: 'No such file or directory' },
  13: { code: 'PERMISSION_DENIED', text: 'permission denied', words: 'Permission denied' },
  20: { code: 'NOT_FOUND', text: 'a part of the path is no folder', words: 'Not a directory' },
  21: { code: 'GUEST_ERROR', text: 'it is a folder', words: 'Is a directory' },
  22: { code: 'GUEST_ERROR', text: 'it is no file' },
  28: { code: 'RESOURCE_EXHAUSTED', text: 'the disk of the machine is full', words: 'No space left on device' },
  30: { code: 'PERMISSION_DENIED', text: 'the file system is read-only', words: 'Read-only file system' },
  36: { code: 'GUEST_ERROR', text: 'the name is too long', words: 'File name too long' },
  40: { code: 'GUEST_ERROR', text: 'too many links', words: 'Too many levels of symbolic links' },
}

export function fileError(id: string, path: string, errno: number, step: string): VMKitError {
  const { code, text } = KINDS[errno] ?? { code: 'GUEST_ERROR' as const, text: `error ${errno} (${step})` }
  return new VMKitError(code, `${JSON.stringify(path)} in the machine: ${text}`, { driver: DRIVER, vmId: id })
}

/** @returns `undefined` for words that are none of these */
export function errnoIn(words: string): number | undefined {
  const found = Object.entries(KINDS).find(([, kind]) => kind.words !== undefined && words.includes(kind.words))
  return found && Number(found[0])
}
