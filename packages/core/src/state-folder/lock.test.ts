import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { bootId } from './identity.js'
import { claimsAmong, withLock } from './lock.js'

let machine = { id: 'm', folder: '' }
beforeEach(() => {
  machine = { id: 'm', folder: mkdtempSync(join(tmpdir(), 'vmkit-lock-')) }
})
afterEach(() => rmSync(machine.folder, { recursive: true, force: true }))

const never = new AbortController().signal

it('lets one in at a time, and everyone in the end', async () => {
  let inside = 0
  let most = 0
  const enter = () =>
    withLock(machine, 'start', never, async () => {
      most = Math.max(most, ++inside)
      expect(claimsAmong(readdirSync(machine.folder)).filter(({ isLive }) => isLive)).toContainEqual(
        expect.objectContaining({ operation: 'start' }),
      )
      await new Promise((resolve) => setImmediate(resolve))
      inside -= 1
    })
  await Promise.all(Array.from({ length: 20 }, enter))
  expect([most, readdirSync(machine.folder)]).toEqual([1, []])
})

it('passes over claims of the dead, of earlier boots and of pids that are others now', async () => {
  for (const owner of [`999999.1.${bootId()}`, `${process.pid}.1.${bootId()}`, `${process.pid}.1.${'0'.repeat(32)}`]) {
    writeFileSync(join(machine.folder, `lock.stop.${owner}.abcdef`), '')
  }
  expect(claimsAmong(readdirSync(machine.folder)).map(({ isLive }) => isLive)).toEqual([false, false, false])
  await withLock(machine, 'start', never, async () => {})
  expect(readdirSync(machine.folder)).toEqual([])
})

it('gives up with CONFLICT, and lets go after an error', async () => {
  const controller = new AbortController()
  await withLock(machine, 'stop', never, async () => {
    const second = withLock(machine, 'start', controller.signal, async () => {})
    controller.abort()
    await expect(second).rejects.toMatchObject({ code: 'CONFLICT', vmId: 'm' })
  })
  await expect(withLock(machine, 'start', never, () => Promise.reject(new Error('failed')))).rejects.toThrow('failed')
  expect(readdirSync(machine.folder)).toEqual([])
})

it('is NOT_FOUND when the machine is gone', async () => {
  rmSync(machine.folder, { recursive: true })
  await expect(withLock(machine, 'start', never, async () => {})).rejects.toMatchObject({ code: 'NOT_FOUND' })
})
