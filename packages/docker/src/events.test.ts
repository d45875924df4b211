import { Readable } from 'node:stream'
import type { VMEvent } from '@vmkit/core/driver'
import { describe, expect, it } from 'vitest'
import { readEvents } from './events.js'
import { type Machines, unaborted } from './machines.js'

/** The end of a run as the engine tells it, and the container as it is when it is asked for more. */
async function endOf(exitCode: number, at: string, state: { ExitCode: number; FinishedAt: string }): Promise<VMEvent | undefined> {
  const line = {
    Type: 'container',
    Action: 'die',
    Actor: { ID: 'x', Attributes: { 'vmkit.machine': 'docker', name: 'one', exitCode: String(exitCode) } },
    time: Date.parse(at) / 1000,
    timeNano: Date.parse(at) * 1e6,
  }
  const engine = {
    isLocal: true,
    endpoint: { target: 'test' },
    stream: async () => Readable.from([Buffer.from(`${JSON.stringify(line)}\n`)]),
  }
  const State = { Running: false, Restarting: false, OOMKilled: false, StartedAt: '2026-01-01T00:00:00Z', ...state }
  const machines = { engine: async () => engine, inspect: async () => ({ State }) } as unknown as Machines
  for await (const event of readEvents(machines, unaborted())) return event
  return undefined
}

describe('the event of an end', () => {
  it('has what the container knows of it', async () => {
    const event = await endOf(1, '2026-01-01T00:00:02.010Z', { ExitCode: 1, FinishedAt: '2026-01-01T00:00:02.004Z' })
    expect(event).toMatchObject({ type: 'stopped', exit: { code: 1, oom: false, at: Date.parse('2026-01-01T00:00:02.004Z') } })
  })

  it.each([2, 1])('is not told the end of a later run, which had code %d', async (later) => {
    const event = await endOf(1, '2026-01-01T00:00:02Z', { ExitCode: later, FinishedAt: '2026-01-01T00:00:03Z' })
    expect(event).toMatchObject({ type: 'stopped', exit: { code: 1, oom: null, at: Date.parse('2026-01-01T00:00:02Z') } })
  })
})
