import type { FileEntry } from '@vmkit/core/driver'

const NUL = 0

/** Reads what the script LIST wrote. An entry that vanished between its name and its `stat` is left out. */
export function parseListing(output: Buffer): FileEntry[] {
  const entries: FileEntry[] = []
  for (let at = 0; at < output.length; ) {
    const names: string[] = []
    for (;;) {
      const end = endOf(output, at)
      const name = output.toString('utf8', at, end)
      at = end + 1
      if (name === '') break
      names.push(name)
    }
    const end = endOf(output, at)
    entries.push(...entriesOf(names, output.toString('utf8', at, end)))
    at = end + 1
  }
  return entries
}

function endOf(output: Buffer, from: number): number {
  const end = output.indexOf(NUL, from)
  return end < 0 ? output.length : end
}

/** Names may hold newlines, so each line is looked for by the name that it must end with. */
function entriesOf(names: readonly string[], text: string): FileEntry[] {
  let at = 0
  return names.flatMap((name) => {
    const [head = '', mode = '', size = '', seconds = ''] = /^([0-9a-f]+) (\d+) (-?\d+) /.exec(text.slice(at, at + 64)) ?? []
    if (head === '' || !text.startsWith(`${name}\n`, at + head.length)) return []
    at += head.length + name.length + 1
    const bits = Number.parseInt(mode, 16)
    return [
      { name: name.replace(/^\.\//, ''), type: kindOf(bits), size: Number(size), mode: bits & 0o7777, modifiedAt: Number(seconds) * 1000 },
    ]
  })
}

/** The types of inode(7). */
function kindOf(bits: number): FileEntry['type'] {
  switch (bits & 0o170000) {
    case 0o100000:
      return 'file'
    case 0o040000:
      return 'directory'
    case 0o120000:
      return 'symlink'
    default:
      return 'other'
  }
}
