/**
 * Paths inside a root folder that belongs to somebody hostile. Each component is opened on its own, below the folder that
 * is open already, without following symbolic links (`/proc/self/fd/N/name` stands in for openat(2), which Node lacks).
 * Links are followed by hand, from the root again: whatever the machine swaps meanwhile, nothing outside is reached.
 */
import { closeSync, fstatSync, mkdirSync, openSync, readlinkSync, type Stats } from 'node:fs'
import { posix } from 'node:path'
import { VMKitError } from '@vmkit/core/driver'

/** open(2); Node has no names for these two. */
const O_PATH = 0o10000000
const O_CLOEXEC = 0o2000000
const O_NOFOLLOW = 0o400000
const O_DIRECTORY = 0o200000

/** As many as Linux follows (path_resolution(7)). */
const MOST_LINKS = 40

/** An open folder inside the root; `path` reaches it, whatever happens to its name. */
export interface Folder {
  readonly fd: number
  readonly path: string
  close(): void
}

export interface Place {
  folder: Folder
  /** Last component; empty for the root itself. */
  name: string
  /** Path from the root, links resolved. */
  resolved: string
}

function openFolder(path: string): Folder {
  return folderOf(openSync(path, O_PATH | O_DIRECTORY | O_CLOEXEC))
}

function folderOf(fd: number): Folder {
  let open = true
  return {
    fd,
    path: `/proc/self/fd/${fd}`,
    close() {
      if (open) closeSync(fd)
      open = false
    },
  }
}

/** Opens a child of a folder, never through a link. */
function openChild(parent: Folder, name: string, flags: number): number {
  return openSync(`${parent.path}/${name}`, flags | O_NOFOLLOW | O_CLOEXEC)
}

export function openChildFolder(parent: Folder, name: string): Folder {
  return folderOf(openChild(parent, name, O_PATH | O_DIRECTORY))
}

/** What is there, links as themselves; `undefined` when nothing is. */
export function statChild(parent: Folder, name: string): Stats | undefined {
  try {
    const fd = openChild(parent, name, O_PATH)
    try {
      return fstatSync(fd)
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

export interface WalkOptions {
  /** Whether a link in the last component is followed. */
  followLast: boolean
  /** Make folders that are missing on the way to the last component. */
  makeParents?: boolean
}

/** The folder that holds the last component of `path`, open. The caller closes it. */
export function walk(root: string, path: string, { followLast, makeParents = false }: WalkOptions): Place {
  let parts = componentsOf(path)
  let links = 0
  let done: string[] = []
  const stack: Folder[] = [openFolder(root)]
  try {
    for (;;) {
      const part = parts[0]
      if (part === undefined) return { folder: last(stack), name: '', resolved: `/${done.join('/')}` }
      const rest = parts.slice(1)
      if (part === '..') {
        if (stack.length > 1) {
          stack.pop()?.close()
          done.pop()
        }
        parts = rest
        continue
      }
      const stat = statChild(last(stack), part)
      if (stat?.isSymbolicLink() && (rest.length > 0 || followLast)) {
        if (++links > MOST_LINKS) throw new VMKitError('GUEST_ERROR', `${path} goes through too many symbolic links`)
        const target = readlinkSync(`${last(stack).path}/${part}`)
        parts = [...componentsOf(target), ...rest]
        if (target.startsWith('/')) {
          for (const folder of stack.splice(1)) folder.close()
          done = []
        }
        continue
      }
      if (rest.length === 0) return { folder: last(stack), name: part, resolved: `/${[...done, part].join('/')}` }
      if (!stat && makeParents) mkdirSync(`${last(stack).path}/${part}`, { mode: 0o755 })
      stack.push(openChildFolder(last(stack), part))
      done.push(part)
      parts = rest
    }
  } catch (error) {
    last(stack).close()
    throw error
  } finally {
    // The last one is in the answer.
    for (const folder of stack.slice(0, -1)) folder.close()
  }
}

function last(stack: readonly Folder[]): Folder {
  return stack[stack.length - 1] as Folder
}

function componentsOf(path: string): string[] {
  return path.split(posix.sep).filter((part) => part !== '' && part !== '.')
}
