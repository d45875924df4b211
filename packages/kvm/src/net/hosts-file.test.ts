import { expect, it } from 'vitest'
import { bootHosts, withMachines } from './hosts-file.js'

const web = { address: '10.86.1.2', names: ['web', 'www'] }
const db = { address: '10.86.1.3', names: ['db'] }

it('lists machines behind what the guest has of its own, and takes them out again', () => {
  const own = bootHosts('web')
  const both = withMachines(own, [web, db])
  expect(both).toBe(`${own}# vmkit: machines of the same networks\n10.86.1.2\tweb www\n10.86.1.3\tdb\n`)
  expect(withMachines(both, [web])).toBe(withMachines(own, [web]))
  expect(withMachines(both, [])).toBe(own)
  expect(withMachines(own, [])).toBe(own)
})

it('ends the last line of another first', () => {
  expect(withMachines('192.0.2.1 printer', [db])).toBe('192.0.2.1 printer\n# vmkit: machines of the same networks\n10.86.1.3\tdb\n')
  expect(withMachines('', [db])).toBe('# vmkit: machines of the same networks\n10.86.1.3\tdb\n')
})
