import { execFileSync } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'

/** Which of Node's own modules a program has loaded that imports the built driver; grpc-js needs HTTP/2, tools need processes. */
function loadedBy(script: string): string[] {
  const print =
    '; console.log(JSON.stringify(process.moduleLoadList.filter((name) => /^NativeModule (http2|child_process|dgram|tls)$/.test(name))))'
  const args = ['--input-type=module', '-e', `${script}${print}`]
  return JSON.parse(execFileSync(process.execPath, args, { cwd: import.meta.dirname, encoding: 'utf8' })) as string[]
}

it('importing the driver and making one loads no gRPC', () => {
  const made = "import { containerd } from '@vmkit/containerd'; const driver = containerd()"
  expect(loadedBy(made)).toEqual([])
  // The same look sees it once it is there: the test above can fail.
  const ctx = '{ signal: new AbortController().signal, deadline: undefined, report() {} }'
  const asked = `${made.replace('containerd()', "containerd({ socketPath: '/nowhere.sock', stateDir: '/nowhere' })")}; await driver.list({}, ${ctx}).catch(() => {}); await driver.close()`
  const loaded = loadedBy(asked)
  expect(loaded).toContain('NativeModule http2')
  // And a program that only looks, as this one tried to, loads nothing that runs others.
  expect(loaded).not.toContain('NativeModule child_process')
})

it('no program reads descriptors from bytes: the build has', async () => {
  const dist = join(import.meta.dirname, '../dist')
  const chunks = (await readdir(dist)).filter((name) => name.endsWith('.js'))
  // Minified lines may end within a text.
  const texts = await Promise.all(chunks.map(async (name) => (await readFile(join(dist, name), 'utf8')).replaceAll('\\\n', '')))
  // The look sees what is there: a file of ours, and a well-known one.
  expect(texts.some((text) => text.includes('tasks.proto'))).toBe(true)
  expect(texts.some((text) => text.includes('google/protobuf/any.proto'))).toBe(true)
  // What describes descriptors comes along with the first that is read so.
  expect(chunks.filter((_, index) => texts[index]?.includes('google/protobuf/descriptor.proto'))).toEqual([])
})

it('a driver that was closed before its first call says so', async () => {
  const { containerd } = await import('../src/driver.js')
  const driver = containerd()
  await driver.close()
  await expect(driver.list({}, { signal: new AbortController().signal, deadline: undefined, report: () => {} })).rejects.toMatchObject({
    code: 'INVALID_STATE',
  })
})
