import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { ensureGuest, GUEST_CMDLINE } from '../src/boot/guest.js'
import { resolveOptions } from '../src/options.js'
import { makeRoot } from './guest-root.js'
import { bench, requireQemu } from './support.js'

const hasQemu = await requireQemu()
const root = makeRoot()
const work = mkdtempSync(join(tmpdir(), 'vmkit-kvm-kernel-'))
afterAll(() => {
  for (const folder of [root, work]) rmSync(folder, { recursive: true })
})

/** PID 1 of a system without an agent: it waits for the power button, as a desktop or logind does. */
const INIT = `#!/bin/sh
mount -t devtmpfs devtmpfs /dev
mount -t sysfs sysfs /sys
exec </dev/ttyS0 >/dev/ttyS0 2>&1
for module in button evdev; do insmod /modules/$module.ko; done
for event in /sys/class/input/event*; do
  if [ "$(cat "$event/device/name")" = 'Power Button' ]; then button=/dev/input/\${event##*/}; fi
done
# Opened first: what comes before is heard by nobody.
exec 3<"$button"
echo "waiting for $button"
# One input_event: Documentation/input/input.rst
dd bs=24 count=1 <&3 >/dev/null 2>&1
echo 'the button was pressed'
poweroff -f
`

/** The guest's kernel and modules, with an init and programs of our own; all of it in memory. */
async function ownSystem() {
  const { kernel, initramfs } = await ensureGuest(resolveOptions({ stateDir: work }))
  writeFileSync(join(root, 'init'), INIT, { mode: 0o755 })
  const archive = execFileSync('sh', ['-c', 'find . | cpio --quiet -o -H newc'], { cwd: root, maxBuffer: 2 ** 26 })
  const initrd = join(work, 'initrd.img')
  writeFileSync(initrd, Buffer.concat([readFileSync(initramfs), archive]))
  return { path: kernel, initrd, cmdline: GUEST_CMDLINE }
}

describe.skipIf(!hasQemu)(`a kernel of one's own${hasQemu ? '' : ' (not run: no QEMU; scripts/backends up installs it)'}`, () => {
  it('is shut down by the power button, without an agent', { timeout: 240_000 }, async () => {
    await using machines = bench()
    const vm = await machines.create({ kernel: await ownSystem(), memory: '128MiB' })
    await vm.start()
    await vm.waitFor({ log: 'waiting for /dev/input/event', timeoutMs: 120_000 })
    await vm.stop({ graceMs: 60_000 })
    const lines: string[] = []
    for await (const { text } of vm.logs()) lines.push(text)
    expect(lines).toContain('the button was pressed')
    expect((await vm.status()).exit).toMatchObject({ reason: 'guest-shutdown', code: null, signal: null })
  })
})
