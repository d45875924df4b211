import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { ensureGuest } from '../src/boot/guest.js'
import { resolveOptions } from '../src/options.js'
import { makeRoot } from './guest-root.js'
import { bench, requireQemu } from './support.js'

const hasQemu = await requireQemu()
const root = makeRoot()
afterAll(() => rmSync(root, { recursive: true }))

async function linesOf(vm: { logs(): AsyncIterable<{ source: string; text: string }> }): Promise<string[]> {
  const lines: string[] = []
  for await (const { source, text } of vm.logs()) lines.push(`${source}: ${text}`)
  return lines
}

describe.skipIf(!hasQemu)(`a root file system as a machine${hasQemu ? '' : ' (not run: no QEMU; scripts/backends up installs it)'}`, () => {
  it('runs its command as the config says and tells how it ended', { timeout: 120_000 }, async () => {
    await using machines = bench()
    const hostile = 'a "b" $(c) `d`, ;e\\ \'f\'\n%s'
    const vm = await machines.create({
      name: 'root',
      rootfs: root,
      memory: '128MiB',
      command: [
        '/bin/sh',
        '-c',
        'id; pwd; printf "%s|" "$1" "$ODD"; echo; cat /etc/placed; echo oops >&2; ip -4 addr show eth0 | grep -c 10.0.2.15; exit 7',
      ],
      args: ['sh', hostile],
      env: { ODD: hostile },
      user: 'app',
      workdir: '/home/app',
      files: [{ path: '/etc/placed', content: 'placed\n', mode: 0o644 }],
    })
    const started = Date.now()
    // It boots from a link of its own: the cache may lose the kernel.
    const kernel = statSync(join(machines.stateDir, 'machines', vm.id, 'kernel'), { throwIfNoEntry: false })
    const cached = await ensureGuest(resolveOptions({ stateDir: machines.stateDir }))
    if (kernel) expect(kernel.ino).toBe(statSync(cached.kernel).ino)
    else expect(existsSync(join(dirname(cached.kernel), 'keep')), 'no links between these file systems').toBe(true)
    await vm.start()
    expect(await vm.wait()).toMatchObject({ code: 7, signal: null, oom: false, reason: 'exited' })
    console.info(`from start to exit: ${Date.now() - started} ms`)
    const lines = await linesOf(vm)
    expect(lines.filter((line) => line.startsWith('stdout'))).toEqual([
      'stdout: uid=1000(app) gid=1000(app) groups=2000(extra)',
      'stdout: /home/app',
      ...`${hostile}|${hostile}|`.split('\n').map((line) => `stdout: ${line}`),
      'stdout: placed',
      'stdout: 1',
    ])
    expect(lines).toContain('stderr: oops')
  })

  it('mounts folders of the host', { timeout: 120_000 }, async () => {
    await using machines = bench()
    const shared = mkdtempSync(join(tmpdir(), 'vmkit-kvm-mount, "odd"-'))
    try {
      writeFileSync(join(shared, 'in'), 'from the host\n')
      const vm = await machines.create({
        name: 'mounts',
        rootfs: root,
        memory: '128MiB',
        command: ['sh', '-c', 'cat /mnt/a:b/in; echo from the guest > /mnt/a:b/out; touch /read/only || echo refused'],
        mounts: [
          { source: shared, target: '/mnt/a:b' },
          { source: shared, target: '/read', readOnly: true },
        ],
      })
      await vm.start()
      expect((await vm.wait()).code).toBe(0)
      expect((await linesOf(vm)).filter((line) => line.startsWith('stdout'))).toEqual(['stdout: from the host', 'stdout: refused'])
      expect(readFileSync(join(shared, 'out'), 'utf8')).toBe('from the guest\n')
    } finally {
      rmSync(shared, { recursive: true })
    }
  })
})
