import { rmSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeRoot } from './guest-root.js'
import { bench, requireQemu } from './support.js'

const hasQemu = await requireQemu()

describe.skipIf(!hasQemu)(`commands in the vmkit guest${hasQemu ? '' : ' (not run: no QEMU; scripts/backends up installs it)'}`, () => {
  const root = makeRoot()
  const machines = bench()
  let vm: Awaited<ReturnType<typeof machines.create>>
  beforeAll(async () => {
    vm = await machines.create({ name: 'exec', rootfs: root, memory: '128MiB', command: ['sleep', '2147483'], env: { OWN: 'own' }, user: 'app' })
    await vm.start()
  }, 60_000)
  afterAll(async () => {
    await machines[Symbol.asyncDispose]()
    rmSync(root, { recursive: true })
  })

  it('runs many, each with its own output', { timeout: 30_000 }, async () => {
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
})
