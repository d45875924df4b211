import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { links, pages, ROOT, upToDate } from '../src/pages.js'

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8')

describe.each(pages())('%s', (path) => {
  it('shows its files and tables as they are', () => {
    const page = read(path)
    expect(page, 'npm run -w @vmkit-tests/docs update').toBe(upToDate(page))
  })

  it('links to files that exist', () => {
    const missing = links(read(path)).filter((target) => !existsSync(join(ROOT, dirname(path), target)))
    expect(missing).toEqual([])
  })
})

describe.each(['mock', 'process', 'docker', 'containerd', 'kata', 'kvm'])('packages/%s/README.md', (driver) => {
  const page = read(`packages/${driver}/README.md`)

  it('has the parts that every driver has, in one order', () => {
    const parts = ['What it needs', 'Options', 'What to know', 'What it cannot do', 'Tested']
    const headings = [...page.matchAll(/^## (.+)$/gm)].map(([, heading]) => heading as string)
    expect(headings.filter((heading) => parts.includes(heading))).toEqual(parts)
  })

  it('begins with how to install it, and an example', () => {
    const [start = ''] = page.split('\n## ')
    expect(start).toMatch(new RegExp(`npm install .*@vmkit/${driver}`))
    expect(start).toContain('```ts\n')
  })

  it('installs every package that its example imports', () => {
    const [start = ''] = page.split('\n## ')
    const [, installed = ''] = /^npm install (.*)$/m.exec(start) ?? []
    const imported = [...start.matchAll(/(?:from|import) '(@vmkit\/\w+)/g)].map(([, name]) => name as string)
    expect(imported).toContain('@vmkit/core')
    expect(imported.filter((name) => !installed.split(/\s+/).includes(name))).toEqual([])
  })
})

describe('docs/writing-a-driver.md', () => {
  const driver = read('examples/custom-driver/src/threads.ts')

  it('contains the whole example', () => {
    expect(read('docs/writing-a-driver.md')).toContain(driver)
  })

  it('has every member of the contract in its table', () => {
    const [, contract = ''] = read('packages/core/src/driver.ts').split('export interface VMDriver<')
    const members = [...contract.matchAll(/^ {2}(?:readonly )?(\w+)\??[(:]/gm)].map(([, name]) => name as string)
    expect(members.length).toBeGreaterThan(15)
    const guide = read('docs/writing-a-driver.md')
    expect(members.filter((name) => !new RegExp(`^\\| \`${name}[(\`]`, 'm').test(guide))).toEqual([])
  })

  it('is right that the example has under 100 lines', () => {
    expect(driver.trimEnd().split('\n').length).toBeLessThan(100)
  })
})

describe('upToDate', () => {
  it('fills, replaces and keeps', () => {
    const marker = '<!-- include examples/quickstart/package.json -->\n'
    const filled = upToDate(`a\n${marker}\nb\n`)
    expect(filled).toBe(`a\n${marker}\n\`\`\`json\n${read('examples/quickstart/package.json').trimEnd()}\n\`\`\`\n\nb\n`)
    expect(upToDate(filled)).toBe(filled)
    expect(upToDate(filled.replace('quickstart",', 'stale",'))).toBe(filled)
  })

  it('fails for what is not there', () => {
    expect(() => upToDate('<!-- include no/such/file.ts -->\n')).toThrow(/no such file/)
    expect(() => upToDate('<!-- generated nothing -->\n')).toThrow(/no generated block is called nothing; there are: capabilities/)
  })
})
