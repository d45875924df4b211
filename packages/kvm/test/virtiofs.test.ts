import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { identify, untilChange } from '@vmkit/core/state-folder'
import { afterAll, describe, expect, it } from 'vitest'
import { findVirtiofsd, virtiofsdArguments } from '../src/shares/virtiofsd.js'
import { machineFolder } from '../src/state/machine-folder.js'
import { readRun, writeRun } from '../src/state/run.js'
import { makeRoot } from './guest-root.js'
import { bench, capable, requireQemu } from './support.js'

const hasQemu = await requireQemu()
const program = await findVirtiofsd()
const why = hasQemu ? (typeof program === 'string' ? ` (not run: ${program})` : '') : ' (not run: no QEMU; scripts/backends up installs it)'

describe.skipIf(why !== '')(`folders by virtiofs${why}`, () => {
  const root = makeRoot()
  const work = mkdtempSync(join(tmpdir(), 'vmkit-kvm-virtiofs-'))
  afterAll(() => {
    for (const path of [root, work]) rmSync(path, { recursive: true })
  })
  const source = join(work, "a, b\\'c=d")
  mkdirSync(source)
  const config = {
    rootfs: root,
    memory: '128MiB',
    command: ['/bin/sh', '-c', 'exec sleep 100000'],
    mounts: [{ source, target: '/shared' }],
    volumes: [{ name: 'kept', target: '/kept' }],
    driverOptions: { kvm: { sharedFs: 'virtiofs' } },
  } as const

  /** Processes that serve a machine of this state folder. */
  function daemons(stateDir: string): string[] {
    return readdirSync('/proc').filter((name) => {
      try {
        return /^\d+$/.test(name) && readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(`--socket-path=${stateDir}/`)
      } catch {
        return false
      }
    })
  }

  it('are read and written by both sides; who serves them ends with QEMU, however that ends', { timeout: 180_000 }, async () => {
    await using machines = bench()
    const { stateDir } = machines
    const vm = await machines.create(config)
    await vm.start()
    const guest = capable(vm)
    writeFileSync(join(source, 'from host'), 'host')
    const script =
      'grep -c virtiofs /proc/mounts; cat "/shared/from host"; echo guest >/shared/back; chown 7:8 /shared/back; echo kept >/kept/file'
    expect(await guest.exec(['sh', '-c', script])).toMatchObject({ exitCode: 0, stdout: '2\nhost' })
    expect(readFileSync(join(source, 'back'), 'utf8')).toBe('guest\n')
    expect(readFileSync(join(stateDir, 'volumes/kept/data/file'), 'utf8')).toBe('kept\n')
    expect(daemons(stateDir).length).toBeGreaterThanOrEqual(2)
    await vm.pause()
    await vm.resume()
    await machines.driver.reset(vm.id)
    expect((await guest.exec(['cat', '/shared/back', '/kept/file'])).stdout).toBe('guest\nkept\n')
    expect(vm.supports('snapshot.memory')).toBe(false)
    await vm.stop({ graceMs: 0 })
    expect(daemons(stateDir)).toEqual([])

    await vm.start()
    expect(daemons(stateDir).length).toBeGreaterThanOrEqual(2)
    const { pid } = await vm.info()
    process.kill(pid as number, 'SIGKILL')
    await untilChange(stateDir, AbortSignal.timeout(60_000), 20, () => (daemons(stateDir).length === 0 ? true : undefined))
    expect((await vm.status()).state).toBe('failed')
  })

  it('leave no process after a start that fails, or a program that died in the middle of one', { timeout: 180_000 }, async () => {
    await using machines = bench()
    const { stateDir } = machines
    const taken = createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    const { port } = taken.address() as { port: number }
    const vm = await machines.create({ ...config, ports: [{ guest: 80, host: port, hostIp: '127.0.0.1' }] })
    await expect(vm.start()).rejects.toMatchObject({ code: 'CONFLICT' })
    taken.close()
    expect(daemons(stateDir)).toEqual([])
    const gone = join(work, 'gone')
    mkdirSync(gone)
    const other = await machines.create({ ...config, mounts: [{ source: gone, target: '/gone' }] })
    rmSync(gone, { recursive: true })
    await expect(other.start()).rejects.toMatchObject({ code: 'BACKEND_ERROR', message: expect.stringContaining(gone) })
    expect((await other.status()).state).toBe('created')
    expect(daemons(stateDir)).toEqual([])

    // As if a program had died between the two: the one that serves waits for a QEMU that never comes.
    const folder = machineFolder(stateDir, vm.id)
    const socket = join(folder.path, 'fs0.sock')
    if (typeof program === 'string') throw new Error(program)
    const left = spawn(program.path, virtiofsdArguments(program, { socket, source, readOnly: false }), { stdio: 'ignore', detached: true })
    await untilChange(folder.path, AbortSignal.timeout(60_000), 20, () => (existsSync(socket) ? true : undefined))
    const launcher = identify(left.pid as number)
    if (!launcher) throw new Error('it did not start')
    writeRun(folder, {
      number: 1,
      launcher: { ...launcher, start: 1 },
      ready: false,
      startedAt: 1,
      accel: 'tcg',
      ports: [],
      before: { state: 'created' },
    })
    expect(readRun(folder)?.qemu).toBeUndefined()
    expect(daemons(stateDir).length).toBeGreaterThanOrEqual(1)
    await vm.delete()
    expect(daemons(stateDir)).toEqual([])
  })

  it('are refused read-only where only the guest would hold writes back', async () => {
    await using machines = bench()
    if (typeof program === 'string') throw new Error(program)
    const attempt = machines.create({ ...config, mounts: [{ source, target: '/shared', readOnly: true }] })
    if (program.readOnly) await (await attempt).delete()
    else await expect(attempt).rejects.toMatchObject({ code: 'UNSUPPORTED', field: 'config.mounts.0.readOnly' })
    expect(await machines.manager.driver('kvm').list()).toEqual([])
  })
})
