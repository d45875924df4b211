import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { whyNoKvm } from '../src/qemu/accel.js'
import { tinyGuest } from '../src/qemu/tiny-guest.js'
import { bench, requireQemu } from './support.js'

const hasQemu = await requireQemu()
const folder = mkdtempSync(join(tmpdir(), 'vmkit-kvm-tiny, guest-'))
const firmware = join(folder, 'tiny.rom')
writeFileSync(firmware, tinyGuest('it lives\n'))
afterAll(() => rmSync(folder, { recursive: true }))

const noKvm = whyNoKvm()?.message

/** The whole path of start, pause and stop, with a guest of a few bytes, also under real KVM. */
for (const accel of ['tcg', 'kvm'] as const) {
  const why = !hasQemu ? ' (not run: no QEMU; scripts/backends up installs it)' : accel === 'kvm' && noKvm ? ` (not run: ${noKvm})` : ''
  describe.skipIf(why !== '')(`the tiny guest under ${accel}${why}`, () => {
    it('lives a whole life', { timeout: 120_000 }, async () => {
      await using machines = bench()
      const vm = await machines.create({
        name: 'tiny',
        disk: { size: '1MiB' },
        memory: '32MiB',
        driverOptions: { kvm: { accel, cpu: 'qemu64', extraArguments: ['-bios', firmware] } },
      })
      expect((await vm.status()).state).toBe('created')
      await vm.start()
      await vm.waitFor({ log: 'it lives', timeoutMs: 60_000 })
      expect((await vm.info()).details?.accel).toBe(accel)
      await vm.pause()
      expect((await vm.status()).state).toBe('paused')
      await vm.resume()
      expect((await vm.status()).state).toBe('running')
      await vm.kill('SIGKILL')
      expect(await vm.wait()).toMatchObject({ code: null, signal: 'SIGKILL', reason: 'signalled' })
      await vm.start()
      await vm.stop({ graceMs: 0 })
      expect((await vm.status()).state).toBe('stopped')
      expect((await machines.manager.driver('kvm').list()).length).toBe(1)
      await vm.delete()
      expect(await machines.manager.driver('kvm').list()).toEqual([])
    })
  })
}
