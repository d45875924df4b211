import type { Place } from './tree.js'

export interface Skipped {
  path: string
  reason: string
}

/** With these a hostile layer would steer the overlay file system of the host. */
const OF_OVERLAYFS = /^(?:trusted|user)\.overlay\./

/** Sets extended attributes through `setfattr`, as Node has no call for it. Returns what was not set. */
export async function applyXattrs(folder: string, places: Iterable<Place>): Promise<Skipped[]> {
  const skipped: Skipped[] = []
  const blocks: string[] = []
  const paths: string[] = []
  for (const { parts, node } of places) {
    const path = `/${parts.join('/')}`
    const entries = Object.entries(node.attributes.xattrs ?? {})
    const wanted = entries.filter(([name]) => !OF_OVERLAYFS.test(name) && /^[\w.-]+$/.test(name))
    if (wanted.length < entries.length) skipped.push({ path, reason: 'its extended attributes have names that are not set' })
    if (wanted.length === 0) continue
    paths.push(path)
    const lines = wanted.map(([name, value]) => `${name}=0x${Buffer.from(value).toString('hex')}`)
    blocks.push([`# file: ${quote(`.${path}`)}`, ...lines, ''].join('\n'))
  }
  if (blocks.length === 0) return skipped
  const failure = await restore(folder, `${blocks.join('\n')}\n`)
  return failure === undefined ? skipped : [...skipped, ...paths.map((path) => ({ path, reason: failure }))]
}

/** As `getfattr --dump` writes names: octal for what would end the line. */
const quote = (path: string) => path.replace(/[\\\n\r=]/g, (char) => `\\${char.charCodeAt(0).toString(8).padStart(3, '0')}`)

async function restore(folder: string, dump: string): Promise<string | undefined> {
  const { spawn } = await import('node:child_process')
  return new Promise((resolve) => {
    const child = spawn('setfattr', ['-h', '--restore=-'], { cwd: folder, stdio: ['pipe', 'ignore', 'pipe'] })
    let words = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (words.length < 1000) words += text
    })
    child.on('error', (error) => resolve(`setfattr (Debian package attr) cannot be run: ${error.message}`))
    child.on('close', (code) => resolve(code === 0 ? undefined : `setfattr: ${words.trim()}`))
    child.stdin.on('error', () => {})
    child.stdin.end(dump)
  })
}
