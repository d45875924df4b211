import { rmSync } from 'node:fs'
import { createManager } from '@vmkit/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { kvm } from '../src/driver.js'
import { makeRoot } from './guest-root.js'
import { bench, capable, requireQemu } from './support.js'

const hasQemu = await requireQemu()

describe.skipIf(!hasQemu)(`commands in the vmkit guest${hasQemu ? '' : ' (not run: no QEMU; scripts/backends up installs it)'}`, () => {
  const root = makeRoot()
  const machines = bench()
  async function running() {
    const vm = await machines.create({
      name: 'exec',
      rootfs: root,
      memory: '128MiB',
      command: ['sleep', '2147483'],
      env: { OWN: 'own' },
      user: 'app',
    })
    await vm.start()
    return capable(vm)
  }
  let vm: Awaited<ReturnType<typeof running>>
  beforeAll(async () => {
    vm = await running()
  }, 150_000)
  afterAll(async () => {
    await machines[Symbol.asyncDispose]()
    rmSync(root, { recursive: true })
  })

  // The first waits until the guest is up.
  it('runs many, each with its own output', { timeout: 120_000 }, async () => {
    const first = Date.now()
    await vm.exec(['true'])
    const up = Date.now()
    for (let i = 0; i < 20; i += 1) await vm.exec(['true'])
    console.info(`first ${up - first} ms, then ${(Date.now() - up) / 20} ms each`)
    const done = await vm.exec(['sh', '-c', 'id -un; echo $OWN; pwd; echo err >&2; exit 7'], { workdir: '/tmp' })
    expect(done).toMatchObject({ exitCode: 7, signal: null, stdout: 'app\nown\n/tmp\n', stderr: 'err\n' })
  })

  it('takes stdin and gives bytes back', async () => {
    const bytes = Buffer.alloc(1_000_000, 'binary \0ü\r\n')
    expect(Buffer.from((await vm.exec(['cat'], { stdin: bytes })).stdoutBytes).equals(bytes)).toBe(true)
  })

  it('moves files and trees without a program of the image', async () => {
    const bytes = Buffer.from(Uint8Array.from({ length: 500_000 }, (_, i) => (i * 7) % 251))
    await vm.files.write('/tmp/a b/c\n/data', bytes, { mode: 0o4750 })
    expect(Buffer.from(await vm.files.read('/tmp/a b/c\n/data')).equals(bytes)).toBe(true)
    expect((await vm.files.list('/tmp/a b/c\n'))[0]).toMatchObject({ name: 'data', type: 'file', size: bytes.length, mode: 0o4750 })
    await vm.exec(['ln', '-s', '/etc/passwd', '/tmp/a b/link'], { user: '0' })
    const tar: Uint8Array[] = []
    for await (const chunk of vm.copyOut('/tmp/a b')) tar.push(chunk)
    await vm.copyIn('/tmp/copy', Buffer.concat(tar))
    expect(Buffer.from(await vm.files.read('/tmp/copy/c\n/data')).equals(bytes)).toBe(true)
    expect((await vm.exec(['readlink', '/tmp/copy/link'])).stdout).toBe('/etc/passwd\n')
    await vm.files.remove('/tmp/copy')
    await expect(vm.files.read('/tmp/copy/link')).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(vm.files.read('/tmp')).rejects.toMatchObject({ code: 'GUEST_ERROR' })
  })

  it('a second program has a way in of its own', async () => {
    const other = createManager({ drivers: { kvm: kvm({ stateDir: machines.stateDir }) } })
    try {
      await using session = await vm.execStream(['sleep', '2147483'])
      const again = capable(await other.driver('kvm').get('exec'))
      expect((await again.exec(['echo', 'in'])).stdout).toBe('in\n')
      await session.kill()
      expect(await session.wait()).toEqual({ exitCode: null, signal: 'SIGKILL' })
    } finally {
      await other.close()
    }
  })

  it('a terminal has a size that changes', async () => {
    await using session = await vm.execStream(['sh', '-c', 'stty size; read line; stty size'], {
      tty: { columns: 101, rows: 31 },
      stdin: true,
    })
    let text = ''
    for await (const { source, data } of session.output) {
      expect(source).toBe('console')
      text += Buffer.from(data).toString()
      if (text === '31 101\r\n') {
        await session.resize({ columns: 77, rows: 22 })
        await session.stdin.write('\n')
      }
    }
    expect(text).toContain('22 77')
  })
})
