import { statSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { store } from '../src/store.js'
import { bench, ctx, logs, until } from './tools.js'

const MAX = 1024 * 1024

it('keeps the size of the logs below the cap, loses no line in between, and cursors go on', { timeout: 60_000 }, async () => {
  await using machines = bench({ logs: { maxBytes: MAX } })
  const id = await machines.start(
    ['sh', '-c', 'i=0; while [ $i -lt 60000 ]; do echo "line $i $PAD"; i=$((i+1)); done; echo end; sleep 1000'],
    {
      env: { PAD: 'x'.repeat(80) },
    },
  )
  const path = join(store(machines.stateDir).get(id).folder, 'stdout')
  await until('the last line', async () => (await logs(machines.driver, id, { tail: 1 }))[0]?.text === 'end', 30_000)
  await until('the trim', () => statSync(path).blocks * 512 <= MAX, 10_000)
  const kept = await logs(machines.driver, id)
  const numbers = kept.slice(0, -1).map(({ text }) => Number(/^line (\d+) x{80}$/.exec(text)?.[1]))
  expect(numbers.length).toBeGreaterThan(1000)
  expect(numbers).toEqual(numbers.map((_, index) => (numbers[0] as number) + index))
  expect(numbers.at(-1)).toBe(59_999)
  const [, second] = kept.slice(-3)
  expect((await logs(machines.driver, id, { after: second?.cursor })).map(({ text }) => text)).toEqual(['end'])
  const fromTheStart = await logs(machines.driver, id, { after: 'o0', tail: 2 })
  expect(fromTheStart.at(-1)?.text).toBe('end')
})

it('has everything once wait has resolved', async () => {
  await using machines = bench()
  for (let i = 0; i < 10; i += 1) {
    const { stdout, stderr } = await machines.run(['sh', '-c', 'echo out; printf "no newline"; echo err >&2'])
    expect([stdout, stderr]).toEqual(['out\nno newline', 'err'])
  }
})

it('goes on over a restart', async () => {
  await using machines = bench()
  const id = await machines.start(['sh', '-c', 'echo run'])
  await machines.driver.wait(id, ctx)
  const [first] = await logs(machines.driver, id)
  await machines.driver.start(id, ctx)
  await machines.driver.wait(id, ctx)
  expect((await logs(machines.driver, id)).map(({ text }) => text)).toEqual(['run', 'run'])
  expect((await logs(machines.driver, id, { after: first?.cursor })).length).toBe(1)
})

it('refuses a cursor that is none', async () => {
  await using machines = bench()
  const id = await machines.create(['true'])
  await expect(logs(machines.driver, id, { after: '../x' })).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'options.after' })
})

it('is one console with a terminal', async () => {
  await using machines = bench()
  const { entries, exit } = await machines.run(['sh', '-c', 'test -t 0 && test -t 1 && echo terminal; echo "$SHELL" >&2; exit 5'], {
    tty: true,
    env: { SHELL: '/bin/x' },
  })
  expect(entries.map(({ source, text }) => [source, text])).toEqual([
    ['console', 'terminal'],
    ['console', '/bin/x'],
  ])
  expect(exit.code).toBe(5)
})
