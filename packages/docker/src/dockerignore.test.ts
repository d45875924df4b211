import { describe, expect, it } from 'vitest'
import { dockerignore } from './dockerignore.js'

describe('.dockerignore', () => {
  const cases: [string, string, boolean][] = [
    ['node_modules', 'node_modules/a/b', true],
    ['node_modules', 'src/node_modules', false],
    ['**/node_modules', 'src/node_modules/x', true],
    ['*.log', 'a.log', true],
    ['*.log', 'logs/a.log', false],
    ['**/*.log', 'logs/a.log', true],
    ['doc?', 'docs', true],
    ['/abs', 'abs', true],
    ['*.md\n!README.md', 'README.md', false],
    ['!README.md\n*.md', 'README.md', true],
    ['# comment', '# comment', false],
    ['a.b', 'axb', false],
    ['**', 'Dockerfile', false],
  ]
  it.each(cases)('%j on %s', (text, path, expected) => {
    expect(dockerignore(text, ['Dockerfile'])(path)).toBe(expected)
  })
})
