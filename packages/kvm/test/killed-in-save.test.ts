import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { createManager } from '@vmkit/core'
import { describe, expect, it } from 'vitest'
import { kvm } from '../src/driver.js'
import { statusOf } from '../src/state/run.js'
import type { Machine } from '../src/state/store.js'
import { missingQemu } from './bare-qemu.js'
import { bed, problemOf, said, untilCount } from './counting-machine.js'

const program = fileURLToPath(new URL('killed-in-save.ts', import.meta.url))

/** Another program that saves the memory, killed when QEMU begins to send it, or has sent all. */
async function killInSave(stateDir: string, { id }: Machine, when: 'begun' | 'sent'): Promise<void> {
  const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env
  const child = spawn(process.execPath, ['--import', 'tsx', program, stateDir, id, when], { env, stdio: ['ignore', 'inherit', 'inherit'] })
  const [code, signal] = await once(child, 'exit')
  expect([code, signal]).toEqual([null, 'SIGKILL'])
}

describe.skipIf(missingQemu)(`killed while it saves the memory${missingQemu ? `: ${missingQemu}` : ''}`, () => {
  for (const when of ['begun', 'sent'] as const) {
    it(`the guest goes on when somebody looks, and half a snapshot is gone (${when})`, { timeout: 180_000 }, async () => {
      await using place = await bed()
      const machine = await place.counting()
      await killInSave(place.stateDir, machine, when)
      expect(statusOf(machine.folder)).toMatchObject({ state: 'paused', reason: expect.stringContaining('resume()') })
      await using manager = createManager({ drivers: { kvm: kvm({ stateDir: place.stateDir }) } })
      const vm = await manager.driver('kvm').get(machine.id)
      const before = said(machine).length
      await expect.poll(async () => (await vm.status()).state, { timeout: 60_000 }).toBe('running')
      await expect.poll(() => readdirSync(machine.folder.snapshots), { timeout: 60_000 }).toEqual([])
      expect(problemOf(await untilCount(machine, (all) => all.length > before + 70))).toBeUndefined()
      // What was asked for is kept.
      await vm.pause()
      expect(await vm.status()).toEqual({ state: 'paused' })
    })
  }

  it('resume() lets it go on, and the same snapshot can be taken', { timeout: 180_000 }, async () => {
    await using place = await bed()
    const machine = await place.counting()
    await killInSave(place.stateDir, machine, 'sent')
    await using manager = createManager({ drivers: { kvm: kvm({ stateDir: place.stateDir }) } })
    const vm = await manager.driver('kvm').get(machine.id)
    await vm.resume()
    expect(await vm.status()).toEqual({ state: 'running' })
    if (!vm.supports('snapshot.memory')) throw new Error('it saves no memory')
    await vm.snapshot('half', { memory: true })
    expect(await vm.snapshots()).toMatchObject([{ tag: 'half', memory: true }])
    const before = said(machine).length
    expect(problemOf(await untilCount(machine, (all) => all.length > before + 70))).toBeUndefined()
  })
})
