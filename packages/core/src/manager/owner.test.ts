import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { ownerLabels, sweepReason, userLabels } from './owner.js'

const now = 1_000_000

describe('ownerLabels', () => {
  it('say who made it, what should become of it, and when it expires', () => {
    const before = Date.now()
    const labels = ownerLabels('stop', 500)
    expect(Object.keys(labels).sort()).toEqual([
      'vmkit.dispose',
      'vmkit.expires',
      'vmkit.owner.boot',
      'vmkit.owner.host',
      'vmkit.owner.pid',
      'vmkit.owner.start',
    ])
    expect(labels).toMatchObject({ 'vmkit.dispose': 'stop', 'vmkit.owner.pid': String(process.pid) })
    expect(Number(labels['vmkit.expires'])).toBeGreaterThanOrEqual(before + 500)
    expect(Number(labels['vmkit.expires'])).toBeLessThanOrEqual(Date.now() + 500)
    expect(ownerLabels('delete', undefined)).not.toHaveProperty('vmkit.expires')
  })

  it('are not shown to users', () => {
    expect(userLabels({ ...ownerLabels('delete', 1), mine: 'x', vmkitty: 'y' })).toEqual({ mine: 'x', vmkitty: 'y' })
  })
})

describe('sweepReason', () => {
  const mine = ownerLabels('delete', undefined)

  it('spares what a living process looks after', () => {
    expect(sweepReason(mine, now)).toBeUndefined()
  })

  it('takes what is past its ttl, whoever made it', () => {
    expect(sweepReason({ 'vmkit.expires': String(now) }, now)).toBe('its ttl is over')
    expect(sweepReason({ ...mine, 'vmkit.owner.host': 'elsewhere', 'vmkit.expires': '1' }, now)).toBe('its ttl is over')
    expect(sweepReason({ ...mine, 'vmkit.expires': String(now + 1) }, now)).toBeUndefined()
  })

  it.each(['', 'soon', '-1', ' ', 'NaN', '0x10'])('spares a machine whose expiry is no time: %j', (expires) => {
    expect(sweepReason({ 'vmkit.expires': expires }, now)).toBeUndefined()
  })

  it('takes what belongs to an earlier boot, or to another process of the same pid', () => {
    expect(sweepReason({ ...mine, 'vmkit.owner.boot': 'earlier' }, now)).toContain('last boot')
    expect(sweepReason({ ...mine, 'vmkit.owner.start': '1' }, now)).toContain('is gone')
  })

  it('spares what another host made, or what was made to stay', () => {
    const gone = { ...mine, 'vmkit.owner.start': '1' }
    expect(sweepReason({ ...gone, 'vmkit.owner.host': 'elsewhere' }, now)).toBeUndefined()
    expect(sweepReason({ ...gone, 'vmkit.dispose': 'detach' }, now)).toBeUndefined()
    expect(sweepReason({ ...gone, 'vmkit.dispose': 'stop' }, now)).toBeUndefined()
    expect(sweepReason({}, now)).toBeUndefined()
  })

  it('takes what a process left that has ended, also without its start time', async () => {
    const child = spawn(process.execPath, ['-e', ''], { stdio: 'ignore' })
    const pid = String(child.pid)
    await once(child, 'exit')
    expect(sweepReason({ ...mine, 'vmkit.owner.pid': pid }, now)).toBe(`its owner, process ${pid}, is gone`)
    expect(sweepReason({ ...mine, 'vmkit.owner.pid': pid, 'vmkit.owner.start': '' }, now)).toContain('is gone')
    expect(sweepReason({ ...mine, 'vmkit.owner.start': '' }, now)).toBeUndefined()
    expect(sweepReason({ ...mine, 'vmkit.owner.pid': 'x' }, now)).toContain('is gone')
  })
})
