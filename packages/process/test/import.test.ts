import { execFileSync } from 'node:child_process'
import { expect, it } from 'vitest'

/** Whether a program that imports the built driver has loaded what starts processes. */
function startsProcesses(script: string): boolean {
  const print = "; console.log(process.moduleLoadList.includes('NativeModule child_process'))"
  const args = ['--input-type=module', '-e', `${script}${print}`]
  return execFileSync(process.execPath, args, { cwd: import.meta.dirname, encoding: 'utf8' }).trim() === 'true'
}

it('importing the driver and making one loads nothing of what its methods do', () => {
  const made = "import { processDriver } from '@vmkit/process/driver'; const driver = processDriver({ stateDir: '/nowhere' })"
  expect(startsProcesses(made)).toBe(false)
  // The same look sees it once it is there: the test above can fail.
  expect(startsProcesses(`${made}; await driver.list({}).catch(() => {})`)).toBe(true)
})
