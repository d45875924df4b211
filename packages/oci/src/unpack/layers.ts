/** The rules by which a layer changes what is below it (OCI image specification, "layer", "Whiteouts"). */
import type { TarEntry } from '../tar/entry.js'
import type { Disk } from './disk.js'
import { type Attributes, EscapeError, findFolder, folderNode, type Node, type Place, splitName } from './tree.js'

const WHITEOUT = '.wh.'
const OPAQUE = '.wh..wh..opq'
/** Notes of AUFS to itself. */
const AUFS = '.wh..wh.'

export interface Layers {
  readonly root: Node
  /** From now on entries belong to the next layer. */
  next(): void
  place(entry: TarEntry): Promise<void>
}

export function layersOn(disk: Disk): Layers {
  const root = folderNode(0)
  let layer = 0

  const parentOf = (parts: readonly string[]): Place =>
    findFolder(root, parts.slice(0, -1), (parent, name) => {
      const node = folderNode(layer)
      disk.makeFolder([...parent.parts, name], node.attributes)
      parent.node.children?.set(name, node)
      return node
    })

  /** Removes what lower layers have there. Returns whether anything of this layer is left. */
  const hide = (place: Place, name: string): boolean => {
    const node = place.node.children?.get(name)
    if (!node) return false
    const parts = [...place.parts, name]
    const isKept = hideChildren({ parts, node }) || node.layer === layer
    if (isKept) return true
    disk.remove(parts, node.attributes)
    place.node.children?.delete(name)
    return false
  }
  const hideChildren = (place: Place): boolean => {
    let isKept = false
    for (const name of [...(place.node.children?.keys() ?? [])]) isKept = hide(place, name) || isKept
    return isKept
  }

  /** Removes whatever is there, to the last file. */
  const clear = (place: Place, name: string): void => {
    const node = place.node.children?.get(name)
    if (!node) return
    const parts = [...place.parts, name]
    for (const child of [...(node.children?.keys() ?? [])]) clear({ parts, node }, child)
    disk.remove(parts, node.attributes)
    place.node.children?.delete(name)
  }

  const whiteout = (parts: readonly string[], name: string): void => {
    const parent = findFolder(root, parts.slice(0, -1), () => folderNode(layer))
    if (name === OPAQUE) hideChildren(parent)
    else if (!name.startsWith(AUFS)) hide(parent, hidden(name))
  }

  return {
    root,
    next() {
      layer += 1
    },
    async place({ header, content }) {
      const parts = splitName(header.name)
      const name = parts.at(-1)
      if (name === undefined) {
        if (header.type !== 'directory') throw new EscapeError('it would replace the root')
        Object.assign(root.attributes, attributesOf(header, 'directory'))
        disk.setFolder([], root.attributes)
        return
      }
      if (name.startsWith(WHITEOUT)) return whiteout(parts, name)
      const parent = parentOf(parts)
      const path = [...parent.parts, name]
      const present = parent.node.children?.get(name)
      if (header.type === 'directory') {
        const attributes = attributesOf(header, 'directory')
        if (present?.children) {
          present.layer = layer
          present.attributes = attributes
          disk.setFolder(path, attributes)
          return
        }
        clear(parent, name)
        disk.makeFolder(path, attributes)
        parent.node.children?.set(name, { attributes, layer, children: new Map() })
        return
      }
      if (header.type === 'hardlink') {
        const target = findTarget(root, header.linkname)
        // A link of a name to itself: some builders write one for a file that they wrote before.
        if (target.node === present) return
        clear(parent, name)
        disk.link(target.parts, path, target.node.attributes)
        parent.node.children?.set(name, { attributes: target.node.attributes, layer })
        return
      }
      if (header.type === 'symlink' && header.linkname === '') throw new EscapeError('it is a symbolic link to nothing')
      clear(parent, name)
      const attributes: Attributes = {
        ...attributesOf(header, header.type),
        ...(header.type === 'symlink' ? { linkname: header.linkname } : {}),
      }
      // In the tree only when it is there; a failure ends everything anyway.
      await disk.make(path, attributes, content())
      parent.node.children?.set(name, { attributes, layer })
    },
  }
}

function hidden(whiteout: string): string {
  const name = whiteout.slice(WHITEOUT.length)
  if (name === '' || name === '.' || name === '..') throw new EscapeError('it hides no file')
  return name
}

function findTarget(root: Node, linkname: string): Place {
  const parts = splitName(linkname)
  const name = parts.at(-1)
  const parent = name === undefined ? undefined : findFolder(root, parts.slice(0, -1))
  const node = name === undefined ? undefined : parent?.node.children?.get(name)
  if (!parent || !node || node.children) throw new EscapeError('it is a hard link to what is no file of the image')
  return { parts: [...parent.parts, name as string], node }
}

function attributesOf({ mode, uid, gid, mtimeMs, device, xattrs }: TarEntry['header'], type: Attributes['type']): Attributes {
  return { type, mode, uid, gid, mtimeMs, ...(device ? { device } : {}), ...(xattrs ? { xattrs } : {}) }
}
