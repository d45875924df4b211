import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { capabilities } from './capabilities.js'

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url))

/** Every Markdown page of the repository, as a path from its root. */
export function pages(): string[] {
  const args = ['ls-files', '--cached', '--others', '--exclude-standard', '*.md']
  return execFileSync('git', args, { cwd: ROOT, encoding: 'utf8' }).split('\n').filter(Boolean)
}

// A marker, and what stands below it: a fenced block or a table.
const BLOCK = /^<!-- (include|generated) (\S+) -->\n(?:\n(?:```.*\n[\s\S]*?\n```\n|(?:\|.*\n)+))?/gm

const GENERATED: Readonly<Record<string, () => string>> = { capabilities }

/** The page with what its markers ask for: `include <path from the root>` a file as it is, `generated <name>` a table. */
export function upToDate(page: string): string {
  return page.replace(
    BLOCK,
    (_block, kind: string, what: string) => `<!-- ${kind} ${what} -->\n\n${kind === 'include' ? fenced(what) : generated(what)}`,
  )
}

function fenced(path: string): string {
  const text = readFileSync(join(ROOT, path), 'utf8')
  if (text.includes('```')) throw new Error(`${path} cannot be included: it has a code fence of its own`)
  return `\`\`\`${extname(path).slice(1)}\n${text.trimEnd()}\n\`\`\`\n`
}

function generated(name: string): string {
  const make = GENERATED[name]
  if (!make) throw new Error(`no generated block is called ${name}; there are: ${Object.keys(GENERATED).join(', ')}`)
  return make()
}

/** The files that a page links to, as it writes them, without anchors. */
export function links(page: string): string[] {
  const prose = page.replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*`/g, '')
  const targets = [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => (target as string).split('#')[0] as string)
  return targets.filter((target) => target !== '' && !/^[a-z]+:/.test(target))
}
