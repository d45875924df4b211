import { execFileSync } from 'node:child_process'
import { expect, it } from 'vitest'

/** Whether a program that imports the built driver has loaded what opens sockets. */
function opensSockets(script: string): boolean {
  const print = "; console.log(process.moduleLoadList.includes('NativeModule net'))"
  const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env
  return (
    execFileSync(process.execPath, ['--input-type=module', '-e', `${script}${print}`], {
      cwd: import.meta.dirname,
      env,
      encoding: 'utf8',
    }).trim() === 'true'
  )
}

it('importing the driver and making one loads nothing of what its methods do', () => {
  const made = "import { kvm } from '@vmkit/kvm/driver'; const driver = kvm({ stateDir: '/nowhere' })"
  expect(opensSockets(made)).toBe(false)
  // The same look sees it once it is there: the test above can fail.
  expect(opensSockets(`${made}; await driver.list({}).catch(() => {})`)).toBe(true)
})
