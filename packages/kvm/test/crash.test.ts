import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { VMKitError } from '@vmkit/core/driver'
import { hasEnded, ownIdentity, readStat } from '@vmkit/core/state-folder'
import { afterAll, describe, expect, it } from 'vitest'
import { tinyGuest } from '../src/qemu/tiny-guest.js'
import { connectQmp } from '../src/qmp/client.js'
import { ctx } from './counting-machine.js'
import { bench, requireQemu } from './support.js'

const hasQemu = await requireQemu()
const why = hasQemu ? '' : ' (not run: no QEMU; scripts/backends up installs it)'
const folder = mkdtempSync(join(tmpdir(), 'vmkit-kvm-crash-'))
const firmware = join(folder, 'tiny.rom')
writeFileSync(firmware, tinyGuest('it lives\n'))
afterAll(() => rmSync(folder, { recursive: true }))

const tiny = { disk: { size: '1MiB' }, memory: '32MiB', driverOptions: { kvm: { extraArguments: ['-bios', firmware] } } }

function lives(pid: number): boolean {
  const stat = readStat(pid)
  return stat !== undefined && !hasEnded(stat)
}

describe.skipIf(!hasQemu)(`what ends without asking${why}`, { timeout: 120_000 }, () => {
  it('a killed QEMU is failed and lost, is told to every reader, and starts again', async () => {
    await using machines = bench()
    const vm = await machines.create(tiny)
    const events: string[] = []
    const stream = machines.manager.driver('kvm').events()
    const first = stream.next()
    const reading = (async () => {
      for (let result = await first; !result.done; result = await stream.next()) {
        events.push(result.value.type)
        if (result.value.type === 'failed') break
      }
    })()
    await vm.start()
    const { pid } = await vm.info()
    const waiting = vm.wait()
    process.kill(pid as number, 'SIGKILL')
    expect(await waiting).toEqual({ code: null, signal: null, oom: null, reason: 'lost', at: null })
    expect(await vm.status()).toMatchObject({ state: 'failed', reason: expect.stringContaining(`pid ${pid}`) })
    await reading
    await stream.return?.()
    expect(events).toEqual(['started', 'failed'])
    await vm.start()
    expect((await vm.status()).state).toBe('running')
  })

  it('a QEMU killed at random moments of its start leaves a machine that starts', async () => {
    await using machines = bench()
    const vm = await machines.create(tiny)
    for (let round = 0; round < 12; round += 1) {
      const killing = new Promise<void>((resolve) => setTimeout(resolve, round * 9)).then(async () => {
        const { pid } = await vm.info()
        if (pid !== null && lives(pid)) process.kill(pid, 'SIGKILL')
      })
      await vm.start().catch((error: unknown) => expect(error).toMatchObject({ name: 'VMKitError' }))
      await killing
      await expect.poll(async () => (await vm.status()).state, { timeout: 30_000 }).toMatch(/created|running|stopped|failed/)
      await vm.stop({ graceMs: 0 })
    }
    await vm.start()
    expect((await vm.status()).state).toBe('running')
  })

  it('what is asked of a machine that ends at that moment is refused by its state, and it starts at once', async () => {
    await using machines = bench()
    const vm = await machines.create(tiny)
    const { id } = vm
    const codes = new Set<string>()
    for (let round = 0; round < 12; round += 1) {
      await vm.start()
      const { pid } = await machines.driver.getInfo(id, ctx)
      const asked = [machines.driver.getMetrics(id, ctx), machines.driver.pause(id, ctx), machines.driver.getMetrics(id, ctx)]
      const outcomes = Promise.allSettled(asked)
      await new Promise((resolve) => setTimeout(resolve, round))
      process.kill(pid as number, 'SIGKILL')
      for (const outcome of await outcomes) codes.add(outcome.status === 'fulfilled' ? 'ok' : VMKitError.from(outcome.reason).code)
      await vm.wait()
    }
    expect([...codes].filter((code) => code !== 'ok' && code !== 'INVALID_STATE')).toEqual([])
  })

  it('a machine whose sockets are gone, or held by somebody else, is stopped all the same', async () => {
    await using machines = bench()
    const vm = await machines.create(tiny)
    await vm.start()
    const info = await vm.info()
    const path = String(info.details?.folder)
    for (const name of readdirSync(path)) if (name.endsWith('.sock')) rmSync(join(path, name))
    expect((await vm.status()).state).toBe('running')
    await vm.stop({ graceMs: 100 })
    expect(lives(info.pid as number)).toBe(false)
    await vm.start()
    const held = await connectQmp(join(path, 'qmp.sock'))
    const { pid } = await vm.info()
    await vm.kill('SIGKILL')
    expect(await vm.wait()).toMatchObject({ reason: 'signalled', signal: 'SIGKILL' })
    expect(lives(pid as number)).toBe(false)
    await held.close()
  })

  it('what a killed app left half made is swept, and what is not a machine is left alone', async () => {
    await using machines = bench()
    const { stateDir } = machines
    await machines.create({ ...tiny, name: 'whole' })
    for (const id of ['000000000001', '000000000002']) mkdirSync(join(stateDir, 'machines', id), { recursive: true })
    // The one was being built by an app that is gone, the other by this one.
    writeFileSync(join(stateDir, 'pending', '000000000001'), JSON.stringify({ pid: 1, start: 1, boot: 'another' }))
    writeFileSync(join(stateDir, 'pending', '000000000002'), JSON.stringify(ownIdentity()))
    expect((await machines.manager.driver('kvm').list()).map(({ name }) => name)).toEqual(['whole'])
    await machines.create({ ...tiny, name: 'next' })
    const left = readdirSync(join(stateDir, 'machines'))
    expect(left).not.toContain('000000000001')
    expect(left).toContain('000000000002')
    expect((await machines.manager.driver('kvm').list()).map(({ name }) => name).sort()).toEqual(['next', 'whole'])
  })

  it('an image is never written, and a delete leaves it and its other children alone', async () => {
    await using machines = bench()
    const image = join(folder, 'base, "of" many.img')
    writeFileSync(image, Buffer.alloc(2 ** 20, 'base'))
    const one = await machines.create({ ...tiny, disk: { image } })
    const two = await machines.create({ ...tiny, disk: { image } })
    await Promise.all([one.start(), two.start()])
    await one.delete({ force: true })
    expect((await two.status()).state).toBe('running')
    expect(readFileSync(image).equals(Buffer.alloc(2 ** 20, 'base'))).toBe(true)
  })

  it('lists a hundred machines without a word to QEMU', async () => {
    await using machines = bench()
    for (let index = 0; index < 100; index += 1) await machines.create({ ...tiny, name: `m${index}` })
    const running = await machines.manager.driver('kvm').get('m0')
    await running.start()
    // QMP is root in the machine: nobody else may come near its sockets.
    const path = String((await running.info()).details?.folder)
    for (const shut of [path, join(path, '..')]) expect(statSync(shut).mode & 0o777).toBe(0o700)
    // Somebody holds QEMU's only line: a list that asked it would wait.
    const held = await connectQmp(join(path, 'qmp.sock'))
    const startedAt = performance.now()
    const list = await machines.manager.driver('kvm').list()
    console.log(`a list of 100 machines took ${(performance.now() - startedAt).toFixed(1)} ms`)
    expect(list).toHaveLength(100)
    expect(list.find(({ name }) => name === 'm0')?.state).toBe('running')
    await held.close()
  })
})
