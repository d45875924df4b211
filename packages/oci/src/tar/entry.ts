/** One entry of a tar, as pax defines it (POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block"). */

export type EntryType = 'file' | 'hardlink' | 'symlink' | 'character-device' | 'block-device' | 'directory' | 'fifo'

export interface TarHeader {
  /** As it stands there: not cleaned, maybe hostile. */
  name: string
  type: EntryType
  /** Permission bits with setuid, setgid and sticky. */
  mode: number
  uid: number
  gid: number
  /** Bytes of content; 0 for what has none. */
  size: number
  /** Milliseconds since the epoch, fractions kept. */
  mtimeMs: number
  /** Target of a link; '' otherwise. */
  linkname: string
  device?: { major: number; minor: number }
  /** From `SCHILY.xattr.*`; values are bytes, not text. */
  xattrs?: Record<string, Uint8Array>
}

export interface TarEntry {
  readonly header: TarHeader
  /** Where the content begins in the archive. */
  readonly offset: number
  /** Read it before asking for the next entry; what is left is skipped. */
  content(): AsyncIterable<Uint8Array>
}

export const BLOCK = 512
export const padding = (size: number) => (BLOCK - (size % BLOCK)) % BLOCK

export const TYPE_FLAGS: Readonly<Record<EntryType, string>> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  'character-device': '3',
  'block-device': '4',
  directory: '5',
  fifo: '6',
}

/** Of the pax keyword that GNU tar, bsdtar, Go and Docker write. */
export const XATTR_KEY = 'SCHILY.xattr.'

/** A header of a plain entry. */
export function plainHeader(name: string, size: number, more: Partial<TarHeader> = {}): TarHeader {
  return { name, type: 'file', mode: 0o644, uid: 0, gid: 0, size, mtimeMs: 0, linkname: '', ...more }
}
