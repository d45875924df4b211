import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { MigrationTicket } from '@vmkit/core/driver'
import { describe, expect, it } from 'vitest'
import { end, remove, start } from '../src/lifecycle.js'
import { incomings } from '../src/migrate/incoming.js'
import { migrateOut } from '../src/migrate/send.js'
import type { MigrationOptions } from '../src/options.js'
import { pause } from '../src/running.js'
import { readRun, statusOf } from '../src/state/run.js'
import type { Machine } from '../src/state/store.js'
import { missingQemu, program, temporaryFolder } from './bare-qemu.js'
import { counts } from './counter.js'
import { type Bed, bed, ctx, problemOf, said, untilCount } from './counting-machine.js'

const TRANSPORTS: { name: string; source?: MigrationOptions; target?: MigrationOptions }[] = [
  { name: 'shared disks, UNIX sockets' },
  { name: 'copied disks, UNIX sockets', source: { storage: 'copy' } },
  { name: 'copied disks, TCP', source: { storage: 'copy' }, target: { host: '127.0.0.1' } },
  { name: 'shared disks, post-copy', source: { postCopy: true } },
  { name: 'copied disks, limited to 40 MB/s', source: { storage: 'copy', bandwidth: 40e6, downtimeLimitMs: 50 } },
]

/** What both hosts heard, as the one guest that it is: a line may be begun here and ended there. */
function heard(source: string, machine: Machine): string {
  return source + readFileSync(machine.folder.consoleLog, 'utf8')
}

async function move(from: Bed, to: Bed, machine: Machine, live: boolean, context = ctx) {
  const there = incomings(to.host)
  const ticket = JSON.parse(JSON.stringify(await there.prepare({ config: machine.config, live }, context))) as MigrationTicket
  expect(to.host.store.list(), 'nothing is listed before it is whole').toEqual([])
  try {
    const stats = await migrateOut(from.host, machine, ticket, { live }, context)
    const { id } = await there.finish(ticket)
    return { stats, arrived: to.host.store.get(id) }
  } catch (error) {
    await there.cancel(ticket)
    throw error
  }
}

function leftIn(place: Bed): string[] {
  return ['machines', 'names', 'pending'].flatMap((name) =>
    existsSync(join(place.stateDir, name)) ? readdirSync(join(place.stateDir, name)) : [],
  )
}

describe.skipIf(missingQemu)(`migration${missingQemu ? `: ${missingQemu}` : ''}`, { timeout: 240_000 }, () => {
  it.each(TRANSPORTS)('live, $name: a guest that counts loses nothing and repeats nothing', async ({ name, source = {}, target = {} }) => {
    await using from = await bed(source)
    await using to = await bed(target)
    const machine = await from.counting()
    const progress: string[] = []
    const { stats, arrived } = await move(from, to, machine, true, { ...ctx, report: ({ phase }) => void progress.push(phase) })
    expect(statusOf(arrived.folder).state).toBe('running')
    const first = readFileSync(machine.folder.consoleLog, 'utf8')
    await remove(from.host, machine, true, ctx)
    const length = said(arrived).length
    await untilCount(arrived, (all) => all.slice(length).filter(({ disk }) => disk !== undefined).length >= 3)
    const all = counts(heard(first, arrived))
    expect(problemOf(all)).toBeUndefined()
    expect(all.at(-1)?.memory, 'it is one count, from the first number on').toBe(all.length)
    expect(progress).toContain('memory')
    expect(stats.bytes).toBeGreaterThan(0)
    const { downtimeMs, bytes, details: { qemuDowntimeMs, qemuTotalMs } = {} } = stats
    console.log(
      `live migration, ${name}: ${downtimeMs.toFixed(1)} ms down (QEMU says ${qemuDowntimeMs}), ${(bytes / 1e6).toFixed(1)} MB in ${qemuTotalMs} ms`,
    )
    expect(downtimeMs).toBeGreaterThan(0)
    expect(qemuDowntimeMs).toBeGreaterThanOrEqual(0)
    expect(qemuTotalMs).toBeGreaterThanOrEqual(qemuDowntimeMs as number)
    await pause(arrived, 'pause', ctx)
    await pause(arrived, 'resume', ctx)
  })

  it('with TLS on every connection, and not without the certificates', async (test) => {
    if (!program('openssl')) return test.skip('openssl is not installed')
    using folder = temporaryFolder()
    makeCertificates(folder.path)
    await using from = await bed({ storage: 'copy', tls: folder.path })
    await using to = await bed({ host: '127.0.0.1', tls: folder.path })
    await using bare = await bed()
    const stranger = await bare.counting()
    await expect(move(bare, to, stranger, true)).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'options.migration.tls' })
    const machine = await from.counting()
    const { arrived } = await move(from, to, machine, true)
    const first = readFileSync(machine.folder.consoleLog, 'utf8')
    await remove(from.host, machine, true, ctx)
    await untilCount(arrived, (all) => all.length > 200)
    expect(problemOf(counts(heard(first, arrived)))).toBeUndefined()
  })

  it.each([{}, { storage: 'copy' as const }])('live, broken off (%j): the source runs on, the target is clean', async (options) => {
    await using from = await bed({ ...options, bandwidth: 100_000 })
    await using to = await bed()
    const machine = await from.counting()
    const controller = new AbortController()
    const report = (): void => controller.abort(new Error('changed my mind'))
    await expect(move(from, to, machine, true, { ...ctx, signal: controller.signal, report })).rejects.toMatchObject({ code: 'ABORTED' })
    expect(leftIn(to)).toEqual([])
    expect(statusOf(machine.folder).state).toBe('running')
    const length = said(machine).length
    const all = await untilCount(machine, (found) => found.slice(length).filter(({ disk }) => disk !== undefined).length >= 2)
    expect(problemOf(all)).toBeUndefined()
  })

  it('live, the target dies: the source runs on', async () => {
    await using from = await bed({ bandwidth: 100_000 })
    await using to = await bed()
    const machine = await from.counting()
    let killed = false
    const report = (): void => {
      if (killed) return
      killed = true
      const [id] = readdirSync(join(to.stateDir, 'machines'))
      const run = readRun({ run: join(to.stateDir, 'machines', String(id), 'run.json') } as never)
      if (run?.qemu) process.kill(run.qemu.pid, 'SIGKILL')
    }
    await expect(move(from, to, machine, true, { ...ctx, report })).rejects.toMatchObject({ driver: 'kvm' })
    expect(killed).toBe(true)
    expect(leftIn(to)).toEqual([])
    const length = said(machine).length
    expect(problemOf(await untilCount(machine, (found) => found.length > length + 200))).toBeUndefined()
  })

  it('live, of a paused machine: it stays paused', async () => {
    await using from = await bed()
    await using to = await bed()
    const machine = await from.counting()
    await pause(machine, 'pause', ctx)
    const { arrived } = await move(from, to, machine, true)
    expect(statusOf(arrived.folder).state).toBe('paused')
    const first = readFileSync(machine.folder.consoleLog, 'utf8')
    await remove(from.host, machine, true, ctx)
    await pause(arrived, 'resume', ctx)
    await untilCount(arrived, (all) => all.length > 100)
    expect(problemOf(counts(heard(first, arrived)))).toBeUndefined()
  })

  it.each([{}, { storage: 'copy' as const }])('cold (%j): it has what its disk held', async (options) => {
    await using from = await bed(options)
    await using to = await bed()
    const machine = await from.counting()
    // That it has read 128 says that it was written; a number is printed before.
    await untilCount(machine, (all) => all.some(({ disk }) => disk === 128))
    const run = readRun(machine.folder)
    if (run) await end(from.host, machine, run, ctx.signal)
    const { arrived } = await move(from, to, machine, false)
    expect(arrived.macs).toEqual(machine.macs)
    await remove(from.host, machine, false, ctx)
    await start(to.host, arrived, ctx)
    const all = await untilCount(arrived, (found) => found.some(({ disk }) => disk !== undefined))
    expect(all.find(({ disk }) => disk !== undefined)?.disk).toBeGreaterThanOrEqual(128)
  })

  it('is refused before anything is made: a taken name, a wrong state, a ticket of nobody', async () => {
    await using from = await bed()
    await using to = await bed()
    await using elsewhere = await bed()
    const machine = await from.counting()
    const other = await to.counting()
    const there = incomings(to.host)
    await expect(there.prepare({ config: machine.config, live: true }, ctx)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    expect(to.host.store.list().map(({ id }) => id)).toEqual([other.id])
    await expect(move(from, elsewhere, machine, false)).rejects.toMatchObject({ code: 'INVALID_STATE' })
    const ticket = await there.prepare({ config: { ...machine.config, name: 'free' }, live: true }, ctx)
    await expect(there.finish(ticket)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(migrateOut(from.host, machine, { ...ticket, secret: 'guessed' }, { live: true }, ctx)).rejects.toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
    })
    await there.close()
    await there.cancel(ticket)
    expect(to.host.store.list().length).toBe(1)
    expect(statusOf(machine.folder).state).toBe('running')
  })
})

/** As docs/system/tls.rst of QEMU says, but by openssl. */
function makeCertificates(folder: string): void {
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' })
  openssl(
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '2',
    '-subj',
    '/CN=vmkit test',
    '-keyout',
    'ca-key.pem',
    '-out',
    'ca-cert.pem',
  )
  // Without it QEMU makes one at every start, which takes many seconds.
  openssl('genpkey', '-genparam', '-algorithm', 'DH', '-pkeyopt', 'group:ffdhe2048', '-out', 'dh-params.pem')
  for (const name of ['server', 'client']) {
    const usage = [
      '-addext',
      'subjectAltName=IP:127.0.0.1',
      '-addext',
      `extendedKeyUsage=${name}Auth`,
      '-addext',
      'basicConstraints=CA:FALSE',
    ]
    openssl(
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-days',
      '2',
      '-subj',
      `/CN=${name}`,
      ...usage,
      '-CA',
      'ca-cert.pem',
      '-CAkey',
      'ca-key.pem',
      '-keyout',
      `${name}-key.pem`,
      '-out',
      `${name}-cert.pem`,
    )
  }
}
