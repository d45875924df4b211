import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { ROOT } from './apps.js'

interface Manifest {
  name: string
  private?: boolean
  sideEffects?: boolean | string[]
  dependencies?: Record<string, string>
  peerDependencies?: Record<string, string>
  [field: string]: unknown
}

const read = (folder: string): Manifest => JSON.parse(readFileSync(join(ROOT, 'packages', folder, 'package.json'), 'utf8'))
const folders = readdirSync(join(ROOT, 'packages')).filter((folder) => !read(folder).private)
const engines = (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest).engines

describe.each(folders)('the manifest of %s', (folder) => {
  const manifest = read(folder)

  it('says what npm and its readers look for', () => {
    expect(manifest).toMatchObject({
      name: `@vmkit/${folder}`,
      description: expect.stringMatching(/.{20}/),
      keywords: expect.arrayContaining(['vmkit']),
      license: 'Apache-2.0',
      repository: { url: 'git+https://github.com/vmkit/vmkit.git', directory: `packages/${folder}` },
      type: 'module',
      engines,
      files: expect.arrayContaining(['dist']),
      publishConfig: { access: 'public' },
    })
    expect(existsSync(join(ROOT, 'packages', folder, 'README.md'))).toBe(true)
    expect(existsSync(join(ROOT, 'packages', folder, 'LICENSE'))).toBe(true)
  })

  it('takes core, when it needs it, from the app', () => {
    expect(manifest.dependencies ?? {}).not.toHaveProperty('@vmkit/core')
    expect(manifest.peerDependencies ?? {}).toEqual(folder === 'core' ? {} : expect.objectContaining({ '@vmkit/core': '0.x' }))
  })

  it('names as side effects just what registers', () => {
    const registers = existsSync(join(ROOT, 'packages', folder, 'src/register.ts'))
    // The sources too: the build of the package itself reads this field.
    expect(manifest.sideEffects).toEqual(registers ? ['./dist/index.js', './src/index.ts', './src/register.ts'] : false)
  })
})

describe.each(folders)('what is built of %s', (folder) => {
  const dist = join(ROOT, 'packages', folder, 'dist')
  const files = readdirSync(dist, { recursive: true, encoding: 'utf8' }).filter((file) => /\.(js|d\.ts)$/.test(file))

  // A package manager without hoisting (pnpm) would not find the others.
  it('imports nothing but what its manifest names', () => {
    const { name, dependencies = {}, peerDependencies = {} } = read(folder)
    const named = [name, ...Object.keys(dependencies), ...Object.keys(peerDependencies)]
    const foreign = files.flatMap((file) => packagesIn(readFileSync(join(dist, file), 'utf8')).map((imported) => `${file}: ${imported}`))
    expect(foreign.filter((line) => !named.includes(line.slice(line.indexOf(': ') + 2)))).toEqual([])
  })

  it('has the licenses of what it bundles of others', () => {
    // esbuild writes above each module where it is from.
    const bundled = files.flatMap((file) => [
      ...readFileSync(join(dist, file), 'utf8').matchAll(/^\/\/ \S*node_modules\/((?:@[^/]+\/)?[^/]+)/gm),
    ])
    const texts = existsSync(join(dist, 'THIRD-PARTY-LICENSES')) ? readFileSync(join(dist, 'THIRD-PARTY-LICENSES'), 'utf8') : ''
    const names = [...new Set(bundled.map((match) => match[1] as string))]
    expect(names.filter((name) => !texts.includes(`${name} `))).toEqual([])
    expect(names.length > 0).toBe(['core', 'containerd'].includes(folder))
  })
})

/** The packages that a module imports from: not its own files, not Node's modules. */
function packagesIn(source: string): string[] {
  const specifiers = [...source.matchAll(/\b(?:from\s*|import\s*\(?\s*)(['"])([^'"\s]+)\1/g)].map((match) => match[2] ?? '')
  const bare = specifiers.filter((specifier) => !specifier.startsWith('.') && !isBuiltin(specifier))
  return bare.map((specifier) =>
    specifier
      .split('/')
      .slice(0, specifier.startsWith('@') ? 2 : 1)
      .join('/'),
  )
}
