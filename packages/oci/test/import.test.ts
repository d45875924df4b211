import { execFileSync } from 'node:child_process'
import { expect, it } from 'vitest'

/** Each takes milliseconds: they are loaded with the first call that needs them. */
const LATER = ['crypto', 'child_process', 'http', 'https', 'zlib', 'tls']

it('importing the package loads nothing that only some calls need', () => {
  const script = `
    const loaded = () => new Set(process.moduleLoadList.filter((name) => name.startsWith('NativeModule ')).map((name) => name.slice(13)))
    const before = await import('@vmkit/core').then(() => import('@vmkit/core/driver')).then(loaded)
    await import('./dist/index.js')
    console.log(JSON.stringify([...loaded()].filter((name) => !before.has(name))))`
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
    cwd: `${import.meta.dirname}/..`,
    encoding: 'utf8',
  })
  const loaded = JSON.parse(output) as string[]
  expect(loaded.filter((name) => LATER.includes(name))).toEqual([])
})
