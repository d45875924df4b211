import { posix } from 'node:path'

/**
 * `.dockerignore` (Docker documentation, "Build context"): Go's filepath.Match per part, `**` for any number of parts, `!`
 * takes back, the last match wins, a match of a folder holds for all below it. `kept` is always sent.
 */
export function dockerignore(text: string, kept: readonly string[] = []): (path: string) => boolean {
  const rules = text.split('\n').flatMap((line) => {
    const trimmed = line.trim()
    if (trimmed === '' || trimmed.startsWith('#')) return []
    const isException = trimmed.startsWith('!')
    const pattern = posix.normalize((isException ? trimmed.slice(1) : trimmed).trim()).replace(/^\/+|\/+$/g, '')
    return pattern === '' || pattern === '.' ? [] : [{ ignores: !isException, expression: toExpression(pattern) }]
  })
  return (path) => {
    if (kept.includes(path)) return false
    let isIgnored = false
    for (const { ignores, expression } of rules) if (expression.test(path)) isIgnored = ignores
    return isIgnored
  }
}

function toExpression(pattern: string): RegExp {
  let source = ''
  for (let index = 0; index < pattern.length; index += 1) {
    const char = pattern[index] as string
    if (pattern.startsWith('**/', index)) {
      source += '(?:.*/)?'
      index += 2
    } else if (pattern.startsWith('**', index)) {
      source += '.*'
      index += 1
    } else if (char === '*') source += '[^/]*'
    else if (char === '?') source += '[^/]'
    else if (char === '\\' && index + 1 < pattern.length) {
      index += 1
      source += literal(pattern[index] as string)
    } else source += literal(char)
  }
  return new RegExp(`^${source}(?:/.*)?$`, 's')
}

function literal(char: string): string {
  return char.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')
}
