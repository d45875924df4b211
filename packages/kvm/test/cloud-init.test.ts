import { execFile, execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { ensureGuest, GUEST_CMDLINE } from '../src/boot/guest.js'
import { makeRootDisk } from '../src/boot/root-disk.js'
import { runArchive } from '../src/boot/run-spec.js'
import { bench, requireQemu } from './support.js'

const source = fileURLToPath(new URL('debian/', import.meta.url))
const example = fileURLToPath(new URL('../../../examples/kvm-cloud-init/src/main.ts', import.meta.url))
const cache = process.env.VMKIT_CACHE ?? join(homedir(), '.cache', 'vmkit')

function whyNot(hasQemu: boolean): string {
  if (!hasQemu) return ' (not run: no QEMU; scripts/backends up installs it)'
  if (process.getuid?.() !== 0) return ' (not run: debootstrap needs root)'
  if (!existsSync('/usr/sbin/debootstrap')) return ' (not run: no debootstrap; scripts/backends up installs it)'
  return ''
}
const why = whyNot(await requireQemu())

/** A disk with Debian and cloud-init: a minute to make, so it is kept. */
async function debianDisk(): Promise<string> {
  const hash = createHash('sha256')
  for (const name of readdirSync(source).sort()) hash.update(readFileSync(join(source, name)))
  const folder = join(cache, `debian-${hash.digest('hex').slice(0, 16)}`)
  const disk = `${folder}.qcow2`
  if (existsSync(disk)) return disk
  mkdirSync(cache, { recursive: true })
  execFileSync('bash', [join(source, 'make.sh'), folder], { stdio: 'inherit' })
  await makeRootDisk(folder, disk, { size: 2 ** 30, signal: new AbortController().signal })
  rmSync(folder, { recursive: true })
  return disk
}

/** The disk has no boot loader: the guest's kernel, and its PID 1, which hands over to an init of the disk. */
async function bootOf(work: string, init: string) {
  const { kernel, initramfs } = await ensureGuest({ cacheDir: cache, cacheKeepDays: 30 })
  const initrd = join(work, 'initrd.img')
  writeFileSync(
    initrd,
    Buffer.concat([
      readFileSync(initramfs),
      runArchive([
        ['root', 'vda'],
        ['handover', init],
      ]),
    ]),
  )
  return { path: kernel, initrd, cmdline: GUEST_CMDLINE }
}

describe.skipIf(why !== '')(`Debian${why}`, () => {
  const work = mkdtempSync(join(tmpdir(), 'vmkit-kvm-cloud-'))
  const machines = bench({ cacheDir: cache })
  let disk: string
  beforeAll(async () => {
    const startedAt = Date.now()
    disk = await debianDisk()
    console.info(`the disk was there after ${Date.now() - startedAt} ms`)
  }, 600_000)
  afterAll(async () => {
    await machines[Symbol.asyncDispose]()
    rmSync(work, { recursive: true })
  })

  async function boot() {
    const kernel = await bootOf(work, '/sbin/agent')
    const vm = await machines.create({ name: 'agent', memory: '256MiB', disk: { image: disk }, kernel })
    await vm.start()
    if (!vm.supports('exec') || !vm.supports('files')) throw new Error('a disk machine has exec and files by its guest agent')
    // An emulated Debian takes 15 s to get there, and several times that beside other work.
    await vi.waitFor(() => vm.exec(['true']), { timeout: 180_000 })
    return vm
  }
  let booted: ReturnType<typeof boot> | undefined
  const debian = () => (booted ??= boot())

  it('runs commands by its guest agent', { timeout: 300_000 }, async () => {
    const vm = await debian()
    expect(vm.supports('exec.tty')).toBe(false)
    const startedAt = Date.now()
    expect(
      await vm.exec(['sh', '-c', 'cat; pwd; echo "$A" >&2; exit 3'], { stdin: 'in ', workdir: '/tmp', env: { A: 'b c' } }),
    ).toMatchObject({
      exitCode: 3,
      stdout: 'in /tmp\n',
      stderr: 'b c\n',
    })
    console.info(`a command by the guest agent: ${Date.now() - startedAt} ms`)
    // It gives an agent two seconds, of which a busy host may not leave it enough.
    expect(await vi.waitFor(() => machines.driver.guestInfo(vm.id), { timeout: 60_000 })).toMatchObject({
      agent: 'qemu-ga',
      os: { id: 'debian', version: '12' },
      machine: 'x86_64',
    })
    // Of the packages nothing was set up; this is what `su` needs.
    const pam = 'for f in auth account password session; do echo "$f sufficient pam_permit.so" >/etc/pam.d/common-$f; done'
    expect(await vm.exec(['sh', '-c', pam])).toMatchObject({ exitCode: 0 })
    // The first sleep keeps the output open when its parent is gone: only the end of both ends the command.
    for (const user of ['root', 'nobody']) {
      expect(await vm.exec(['id', '-un'], { user })).toMatchObject({ stdout: `${user}\n`, exitCode: 0 })
      const late = await vm.exec(['sh', '-c', 'sleep 2147 & sleep 2147'], { timeoutMs: 2000, ...(user === 'root' ? {} : { user }) })
      expect(late).toMatchObject({ timedOut: true, signal: 'SIGKILL' })
      // A zombie has no command line: this PID 1 is a shell that waits for the agent.
      const { stdout } = await vm.exec(['sh', '-c', "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"])
      expect(stdout).toContain('qemu-ga')
      expect(stdout).not.toContain('sleep')
    }
  })

  it('gives and takes files by its guest agent', { timeout: 240_000 }, async () => {
    const vm = await debian()
    const { files, missing } = vm
    expect(missing['files.archive']).toContain('guest agent')
    const bytes = Uint8Array.from({ length: 200_000 }, (_, index) => (index * 7) % 251)
    const startedAt = Date.now()
    await files.write('/srv/deep/er/data', bytes, { mode: 0o750 })
    expect(Buffer.from(await files.read('/srv/deep/er/data')).equals(bytes)).toBe(true)
    console.info(`200 kB there and back by the guest agent: ${Date.now() - startedAt} ms`)
    await files.write('srv/deep/er/data', '')
    expect(await files.readText('/srv/deep/er/data')).toBe('')

    const written = ['-rf', 'new\nline', '*']
    for (const name of written) await files.write(`/srv/names/${name}`, name)
    const names = [...written, 'a b', "quote'", '$(id)', '.hidden', '..twice', 'ü✓', 'back\\slash']
    await vm.exec(['touch', ...names.slice(3)], { workdir: '/srv/names' })
    await vm.exec(['ln', '-s', '--', '-rf', '/srv/names/link'])
    const listed = await files.list('/srv/names')
    expect(listed.map(({ name }) => name).sort()).toEqual([...names, 'link'].sort())
    expect(listed.find(({ name }) => name === '*')).toMatchObject({ type: 'file', size: 1, mode: 0o644 })
    expect(listed.find(({ name }) => name === 'link')?.type).toBe('symlink')
    expect(Math.abs((listed[0]?.modifiedAt ?? 0) - Date.now())).toBeLessThan(3_600_000)
    // A link is written through.
    await files.write('/srv/names/link', 'through')
    expect(await files.readText('/srv/names/-rf')).toBe('through')
    for (const name of written.slice(1)) expect(await files.readText(`/srv/names/${name}`)).toBe(name)
    await files.remove('/srv/names/*')
    expect(await files.list('/srv/names')).toHaveLength(names.length)
    await files.remove('/srv/names')

    await vm.exec(['mkfifo', '/srv/fifo'])
    await expect(files.read('/srv/fifo')).rejects.toMatchObject({ code: 'GUEST_ERROR' })
    const absent = [
      () => files.read('/srv/none'),
      () => files.list('/srv/names'),
      () => files.remove('/srv/names'),
      () => files.read('/etc/passwd/x'),
    ]
    for (const attempt of absent) await expect(attempt()).rejects.toMatchObject({ code: 'NOT_FOUND', vmId: vm.id })
    await expect(files.read('/etc')).rejects.toMatchObject({ code: 'GUEST_ERROR' })
    await expect(files.write('/proc/none/file', 'x')).rejects.toMatchObject({ name: 'VMKitError' })
    async function* broken() {
      yield Buffer.from('new, but ')
      throw new Error('the source broke')
    }
    await files.write('/srv/atomic', 'old')
    await expect(files.write('/srv/atomic', broken())).rejects.toThrow('the source broke')
    expect(await files.readText('/srv/atomic')).toBe('old')
    const small = 'mkdir -p /mnt && mount -t tmpfs -o size=64k small /mnt'
    expect(await vm.exec(['sh', '-c', small])).toMatchObject({ exitCode: 0, stderr: '' })
    await expect(files.write('/mnt/large', bytes)).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' })
    expect((await files.list('/srv')).map(({ name }) => name).sort()).toEqual(['atomic', 'deep', 'fifo'])
    expect(await files.list('/mnt')).toEqual([])
  })

  it('holds its disk still for a snapshot, by its guest agent', { timeout: 240_000 }, async () => {
    const vm = await debian()
    if (!vm.supports('snapshot.disk') || !vm.supports('clone')) throw new Error(JSON.stringify(vm.missing))
    // Nobody syncs: without the agent this would be in the guest's memory alone.
    expect(await vm.exec(['sh', '-c', 'echo written >/etc/late'])).toMatchObject({ exitCode: 0 })
    await vm.snapshot('held')
    expect(await vm.exec(['sh', '-c', 'echo after >/etc/after']), 'it is let go').toMatchObject({ exitCode: 0 })
    const copy = await vm.clone('held', { name: 'held' })
    await copy.start()
    if (!copy.supports('exec')) throw new Error('it has exec as its origin has')
    await vi.waitFor(() => copy.exec(['true']), { timeout: 180_000 })
    expect(await copy.exec(['sh', '-c', 'cat /etc/late; ls /etc/after'])).toMatchObject({ stdout: 'written\n', exitCode: 2 })
    await copy.delete({ force: true })
  })

  it('is shut down by its guest agent, without anybody who minds the power button', { timeout: 120_000 }, async () => {
    const vm = await debian()
    // Debian's own is part of systemd, which this disk does not run.
    await vm.files.write('/sbin/shutdown', '#!/bin/sh\necho "$@" >/dev/ttyS0; sync; echo o >/proc/sysrq-trigger\n', { mode: 0o755 })
    await vm.stop({ graceMs: 60_000 })
    expect((await vm.status()).exit).toMatchObject({ reason: 'guest-shutdown', code: null, signal: null })
  })

  it('is set up by cloud-init from the seed, as the example shows', { timeout: 800_000 }, async () => {
    const { path, initrd } = await bootOf(work, '/sbin/init')
    const startedAt = Date.now()
    const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env
    const { stdout } = await promisify(execFile)(process.execPath, ['--import', import.meta.resolve('tsx'), example, disk, path, initrd], {
      env: { ...env, VMKIT_KVM_STATE: join(work, 'state') },
    })
    console.info(`set up by cloud-init and asked in ${Date.now() - startedAt} ms`)
    expect(stdout).toBe("it's $(x), written by cloud-init in cloud\n")
  })
})
