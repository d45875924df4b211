/**
 * What was unpacked so far, in memory. The folder began empty and is ours, so this tells where a path leads without asking
 * the file system: no link is ever followed by the kernel, and nothing can be changed between the look and the use.
 */
import type { EntryType, TarHeader } from '../tar/entry.js'

/** Shared by the names of a hard-linked file. */
export interface Attributes extends Pick<TarHeader, 'mode' | 'uid' | 'gid' | 'mtimeMs' | 'device' | 'xattrs'> {
  type: Exclude<EntryType, 'hardlink'>
  /** Of a symbolic link. */
  linkname?: string
}

export interface Node {
  attributes: Attributes
  /** The layer that put it there last. */
  layer: number
  /** Of a folder. */
  children?: Map<string, Node>
}

/** A place is a path from the root, as its parts. */
export interface Place {
  readonly parts: readonly string[]
  readonly node: Node
}

export class EscapeError extends Error {}

export const folderNode = (layer: number): Node => ({
  attributes: { type: 'directory', mode: 0o755, uid: 0, gid: 0, mtimeMs: 0 },
  layer,
  children: new Map(),
})

/** The parts of a name in a tar; none for the root. @throws EscapeError when it is absolute or has `..` */
export function splitName(name: string): string[] {
  if (name.startsWith('/')) throw new EscapeError('it is absolute')
  const parts = name.split('/').filter((part) => part !== '' && part !== '.')
  if (parts.includes('..')) throw new EscapeError('it has a `..`')
  return parts
}

/** As Linux (MAXSYMLINKS). */
const MOST_LINKS = 40

/**
 * The folder that `parts` lead to. Symbolic links on the way are followed as inside the image: an absolute one begins at
 * its root. A folder that is missing is made by `make`; one that is missing behind a link is an error.
 * @throws EscapeError when a link leads above the root, nowhere, or in a circle
 */
export function findFolder(root: Node, parts: readonly string[], make?: (parent: Place, name: string) => Node): Place {
  const rest = parts.map((part) => ({ part, isLinked: false }))
  let at: Place[] = [{ parts: [], node: root }]
  let links = 0
  for (let next = rest.shift(); next; next = rest.shift()) {
    const here = at.at(-1) as Place
    if (next.part === '..') {
      if (at.length === 1) throw new EscapeError('a symbolic link on its way leads above the root')
      at.pop()
      continue
    }
    const found = here.node.children?.get(next.part) ?? (next.isLinked ? undefined : make?.(here, next.part))
    if (!found) throw new EscapeError(next.isLinked ? 'a symbolic link on its way leads to nothing' : 'its folder does not exist')
    if (found.attributes.type === 'symlink') {
      if (++links > MOST_LINKS) throw new EscapeError('there are too many symbolic links on its way')
      const target = found.attributes.linkname ?? ''
      if (target.startsWith('/')) at = at.slice(0, 1)
      rest.unshift(
        ...target
          .split('/')
          .filter((part) => part !== '' && part !== '.')
          .map((part) => ({ part, isLinked: true })),
      )
      continue
    }
    if (!found.children) throw new EscapeError('a part of it is no folder')
    at.push({ parts: [...here.parts, next.part], node: found })
  }
  return at.at(-1) as Place
}

/** Everything below `node`, folders before what is in them. */
export function* walk(node: Node, parts: readonly string[] = []): Generator<Place> {
  yield { parts, node }
  for (const [name, child] of node.children ?? []) yield* walk(child, [...parts, name])
}
