import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { identify, ownIdentity } from '@vmkit/core/state-folder'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { machineFolder } from './machine-folder.js'
import { markKilled, type Run, statusOf, writeRun } from './run.js'

const stateDir = mkdtempSync(join(tmpdir(), 'vmkit-kvm-run-'))
const folder = machineFolder(stateDir, '0123456789ab')
afterAll(() => rmSync(stateDir, { recursive: true }))
beforeEach(() => {
  rmSync(folder.path, { recursive: true, force: true })
  mkdirSync(folder.path, { recursive: true })
})

const dead = { ...ownIdentity(), start: 1 }
const run = (rest: Partial<Run> = {}): Run => ({
  number: 1,
  launcher: dead,
  qemu: dead,
  ready: true,
  startedAt: 1,
  accel: 'tcg',
  ports: [],
  before: { state: 'created' },
  ...rest,
})
const alive = { qemu: identify(process.pid) as NonNullable<ReturnType<typeof identify>> }

function log(...events: [string, object?][]): void {
  const lines = events.map(([event, data], second) => JSON.stringify({ timestamp: { seconds: second, microseconds: 5000 }, event, data }))
  writeFileSync(folder.events, `{"QMP": {}}\r\n{"return": {}}\r\n${lines.map((line) => `${line}\r\n`).join('')}`)
}

describe('the state, from files alone', () => {
  it('is created without a run', () => {
    expect(statusOf(folder)).toEqual({ state: 'created' })
  })

  it.each([
    [[], 'running'],
    [[['STOP']], 'paused'],
    [[['STOP'], ['RESUME']], 'running'],
    [[['SHUTDOWN', { guest: true }], ['STOP']], 'stopping'],
  ] as [[string, object?][], string][])('of a QEMU that lives, after %j, is %s', (events, state) => {
    writeRun(folder, run(alive))
    log(...events)
    expect(statusOf(folder).state).toBe(state)
  })

  it('is starting while its app starts it, and what it was before when that app died without a QEMU', () => {
    const { qemu: _, ...launching } = run({ launcher: ownIdentity(), ready: false })
    writeRun(folder, launching)
    expect(statusOf(folder).state).toBe('starting')
    writeRun(folder, { ...launching, launcher: dead })
    expect(statusOf(folder).state).toBe('created')
  })

  it('of a QEMU that died while it was started is what it was before', () => {
    writeRun(folder, run({ ready: false, before: { state: 'stopped' } }))
    expect(statusOf(folder).state).toBe('stopped')
  })
})

describe('the exit', () => {
  const exitAfter = (...events: [string, object?][]) => {
    writeRun(folder, run())
    log(...events)
    const { state, exit } = statusOf(folder)
    return { state, ...exit }
  }

  it("is the guest's own shutdown", () => {
    expect(exitAfter(['SHUTDOWN', { guest: true, reason: 'guest-shutdown' }])).toEqual({
      state: 'stopped',
      code: null,
      signal: null,
      oom: null,
      reason: 'guest-shutdown',
      at: 5,
    })
  })

  it('is a panic where the guest told of one', () => {
    expect(exitAfter(['GUEST_PANICKED'], ['SHUTDOWN', { guest: true, reason: 'guest-panic' }])).toMatchObject({
      state: 'stopped',
      reason: 'guest-panic',
    })
  })

  it('is SIGKILL where vmkit switched it off', () => {
    expect(exitAfter(['SHUTDOWN', { guest: false, reason: 'host-qmp-quit' }])).toMatchObject({
      reason: 'signalled',
      signal: 'SIGKILL',
      code: null,
    })
    markKilled(folder, run())
    expect(exitAfter()).toMatchObject({ state: 'stopped', reason: 'signalled', signal: 'SIGKILL' })
  })

  it('is lost, with the last words of QEMU, where nothing tells', () => {
    writeFileSync(folder.qemuLog, 'first\nqemu: something broke\n')
    expect(exitAfter()).toMatchObject({ state: 'failed', reason: 'lost', code: null, signal: null, at: null })
    expect(statusOf(folder).reason).toContain('something broke')
  })

  it.each([
    ['{"code":7}', { code: 7, signal: null, reason: 'exited' }],
    ['{"code":0}', { code: 0, signal: null, reason: 'exited' }],
    ['{"signal":9}', { code: null, signal: 'SIGKILL', reason: 'signalled' }],
    ['{"signal":9,"oom":true}', { code: null, signal: 'SIGKILL', oom: true, reason: 'oom' }],
    ['{"co', { reason: 'guest-shutdown' }],
    ['', { reason: 'guest-shutdown' }],
    ['{"signal":9999}', { reason: 'guest-shutdown' }],
    ['null', { reason: 'guest-shutdown' }],
  ])('of a main process that said %s', (report, expected) => {
    writeFileSync(folder.exit, report)
    expect(exitAfter(['SHUTDOWN', { guest: true, reason: 'guest-shutdown' }])).toMatchObject(expected)
  })
})
