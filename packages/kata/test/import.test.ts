import { execFileSync } from 'node:child_process'
import { expect, it } from 'vitest'

/** Which of Node's own modules a program has loaded that imports the built driver: the look at a shim needs processes. */
function loadedBy(script: string): string[] {
  const print =
    '; console.log(JSON.stringify(process.moduleLoadList.filter((name) => /^NativeModule (http2|child_process|dgram|tls)$/.test(name))))'
  const args = ['--input-type=module', '-e', `${script}${print}`]
  return JSON.parse(execFileSync(process.execPath, args, { cwd: import.meta.dirname, encoding: 'utf8' })) as string[]
}

it('importing the driver and making one loads neither gRPC nor what looks at the host', () => {
  const made = "import { kata } from '@vmkit/kata'; const driver = kata()"
  expect(loadedBy(made)).toEqual([])
  // The same look sees it once it is there: the test above can fail.
  const ctx = '{ signal: new AbortController().signal, deadline: undefined, report() {} }'
  const asked = `${made.replace('kata()', "kata({ socketPath: '/nowhere.sock', stateDir: '/nowhere' })")}; await driver.list({}, ${ctx}).catch(() => {}); await driver.close()`
  expect(loadedBy(asked)).toEqual(expect.arrayContaining(['NativeModule http2', 'NativeModule child_process']))
})
