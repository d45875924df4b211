import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, expect, it } from 'vitest'
import { readEventLog, readEventsFrom } from './event-log.js'

const folder = mkdtempSync(join(tmpdir(), 'vmkit-kvm-events-'))
const path = join(folder, 'events.out')
afterAll(() => rmSync(folder, { recursive: true }))
beforeEach(() => rmSync(path, { force: true }))

const GREETING = '{"QMP": {}}\r\n{"return": {}}\r\n'
let clock = 0
/** Of a length that does not depend on the time. */
function line(event: string, data: object = {}): string {
  clock += 1
  return `${JSON.stringify({ timestamp: { seconds: 1_800_000_000, microseconds: 100_000 + clock }, event, data })}\r\n`
}
const names = (): string[] => readEventLog(path).map(({ event }) => event)

it('is empty without a log, and goes on where it was read before', () => {
  expect(names()).toEqual([])
  writeFileSync(path, GREETING)
  expect(names()).toEqual([])
  const stop = line('STOP', { text: 'ü' })
  appendFileSync(path, stop.slice(0, 40))
  expect(names(), 'a line that is being written').toEqual([])
  appendFileSync(path, stop.slice(40))
  expect(names()).toEqual(['STOP'])
  const before = readEventLog(path)
  expect(readEventLog(path), 'nothing was added').toBe(before)
  appendFileSync(path, line('RESUME') + line('SHUTDOWN'))
  expect(names()).toEqual(['STOP', 'RESUME', 'SHUTDOWN'])
  expect(before, 'who had it keeps what it had').toHaveLength(1)
})

it('is that of another run, also when it is as long as the one before, or longer', () => {
  writeFileSync(path, GREETING + line('STOP') + line('RESUME'))
  expect(names()).toEqual(['STOP', 'RESUME'])
  for (const events of [['RTC1', 'RESUME'], ['RTC2', 'RESUME', 'STOP'], ['STOP'], []]) {
    writeFileSync(path, GREETING + events.map((event) => line(event)).join(''))
    expect(names()).toEqual(events)
  }
})

it('is read from an offset, by whole lines', () => {
  expect(readEventsFrom(path, 7)).toEqual({ events: [], offset: 7 })
  writeFileSync(path, GREETING + line('STOP'))
  const { events, offset } = readEventsFrom(path, 0)
  expect(events.map(({ event }) => event)).toEqual(['STOP'])
  appendFileSync(path, line('RESUME').slice(0, -1))
  expect(readEventsFrom(path, offset)).toEqual({ events: [], offset })
  appendFileSync(path, '\n')
  expect(readEventsFrom(path, offset).events).toMatchObject([{ event: 'RESUME', at: expect.any(Number) }])
})
