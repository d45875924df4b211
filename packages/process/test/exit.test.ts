import { existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hasEnded, type ProcessStat, readStat } from '@vmkit/core/state-folder'
import { afterAll, describe, expect, it } from 'vitest'
import { processesSince } from '../src/proc.js'
import { readSnapshot } from '../src/run.js'
import { store } from '../src/store.js'
import { bench, ctx, until } from './tools.js'

const folder = mkdtempSync(join(tmpdir(), 'vmkit-process-shells-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** busybox is a shell only under that name. */
function busybox(): string | undefined {
  const path = ['/bin/busybox', '/usr/bin/busybox'].find((candidate) => existsSync(candidate))
  if (!path) return undefined
  symlinkSync(path, join(folder, 'sh'))
  return join(folder, 'sh')
}

const shells = { sh: '/bin/sh', dash: '/bin/dash', bash: '/bin/bash', 'busybox ash': busybox() }

for (const [name, shell] of Object.entries(shells)) {
  const present = shell !== undefined && existsSync(shell)
  describe.skipIf(!present)(`under ${name}${present ? '' : ' (not run: this host lacks it)'}`, () => {
    it('tells a code from the signal of the same number', async () => {
      await using machines = bench({ shell })
      const exits = await Promise.all([
        machines.run(['sh', '-c', 'exit 0']),
        machines.run(['sh', '-c', 'exit 3']),
        machines.run(['sh', '-c', 'exit 137']),
        machines.run(['sh', '-c', 'kill -KILL $$']),
        machines.run(['sh', '-c', 'exit 143']),
        machines.run(['sh', '-c', 'kill -TERM $$']),
        machines.run(['sh', '-c', 'kill -SEGV $$']),
      ])
      expect(exits.map(({ exit: { code, signal, reason } }) => [code, signal, reason])).toEqual([
        [0, null, 'exited'],
        [3, null, 'exited'],
        [137, null, 'exited'],
        [null, 'SIGKILL', 'signalled'],
        [143, null, 'exited'],
        [null, 'SIGTERM', 'signalled'],
        [null, 'SIGSEGV', 'signalled'],
      ])
    })

    it('does not guess where shells tell nothing', async () => {
      await using machines = bench({ shell })
      for (const script of ['kill -INT $$', 'exit 130', 'kill -PIPE $$']) {
        const { exit } = await machines.run(['sh', '-c', script])
        expect([exit.code, exit.signal, exit.reason]).toEqual([null, null, 'unknown'])
      }
    })

    it('does not guess what ended a program on a terminal', async () => {
      await using machines = bench({ shell })
      const exits = await Promise.all(
        ['exit 3', 'exit 137', 'kill -KILL $$'].map((script) => machines.run(['sh', '-c', script], { tty: true })),
      )
      expect(exits.map(({ exit: { code, signal, reason } }) => [code, signal, reason])).toEqual([
        [3, null, 'exited'],
        [null, null, 'unknown'],
        [null, null, 'unknown'],
      ])
    })

    it('leaves no process behind', async () => {
      await using machines = bench({ shell })
      const id = await machines.start(['sh', '-c', 'exit 0'])
      await machines.driver.wait(id, ctx)
      const { run } = readSnapshot(store(machines.stateDir).get(id))
      await until('the end of the supervisor', () => readStat(run?.supervisor?.pid ?? 0)?.start !== run?.supervisor?.start)
    })
  })
}

it('is lost when the supervisor and main are killed together', async () => {
  await using machines = bench()
  const id = await machines.start(['sleep', '1000'])
  const { run } = readSnapshot(store(machines.stateDir).get(id))
  process.kill(run?.supervisor?.pid as number, 'SIGKILL')
  expect((await machines.driver.getStatus(id, ctx)).state).toBe('running')
  process.kill(run?.main?.pid as number, 'SIGKILL')
  expect(await machines.driver.wait(id, ctx)).toEqual({ code: null, signal: null, oom: null, reason: 'lost', at: null })
  const helpers = processesSince(run?.supervisor as ProcessStat).filter((stat) => stat.session === run?.supervisor?.pid && !hasEnded(stat))
  expect(helpers, 'what trimmed the logs').toEqual([])
  expect((await machines.driver.getStatus(id, ctx)).state).toBe('stopped')
  await machines.driver.start(id, ctx)
  expect((await machines.driver.getStatus(id, ctx)).state).toBe('running')
})

it('tells when it ended', async () => {
  await using machines = bench()
  const before = Date.now()
  const { exit } = await machines.run(['true'])
  expect(exit.at).toBeGreaterThanOrEqual(before - 1)
  expect(exit.at).toBeLessThanOrEqual(Date.now() + 1)
})
