import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { ROOT } from './apps.js'

interface Manifest {
  name: string
  private?: boolean
  sideEffects?: boolean | string[]
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
