/** What is told when a process is not given its turn, at the moment when that matters. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bootId } from '@vmkit/core/state-folder'
import { expect, it } from 'vitest'
import { store } from '../src/store.js'
import { JOURNAL } from '../src/supervisor.js'
import { bench, ctx } from './tools.js'

it('this one: a command whose end is seen before its output loses none of it', async () => {
  await using machines = bench()
  const id = await machines.start(['sleep', '1000'])
  const sizes: number[] = []
  for (let round = 0; round < 6; round += 1) {
    const session = await machines.driver.execStream(id, { command: ['head', '-c', '100', '/dev/zero'] }, ctx)
    let isReading = true
    const holdUp = (): void => {
      const until = performance.now() + 120
      while (performance.now() < until);
      if (isReading) setImmediate(holdUp)
    }
    // Now, and after each look at what has come. The one that is left at the end holds up the next command.
    holdUp()
    let size = 0
    for await (const { data } of session.output) size += data.length
    isReading = false
    sizes.push(size)
  }
  expect(sizes).toEqual(Array(6).fill(100))
})

it('the supervisor, between the two lines that it writes: an end is told when it is true', async () => {
  await using machines = bench()
  const id = await machines.create(['true'])
  const { folder } = store(machines.stateDir).get(id)
  const supervisor = spawn('sleep', ['1000'], { stdio: 'ignore' })
  try {
    await once(supervisor, 'spawn')
    writeFileSync(join(folder, 'supervisor.1'), `${bootId()} ${readFileSync(`/proc/${supervisor.pid}/stat`, 'latin1')}`)
    const events = machines.driver.events(ctx)[Symbol.asyncIterator]()
    const told = events.next()
    await new Promise((resolve) => setImmediate(resolve))
    appendFileSync(join(machines.stateDir, JOURNAL), `stopped ${id} 1 0 code - 1.0\n`)
    setTimeout(() => writeFileSync(join(folder, 'exit.1'), '0 code - 1.0\n'), 50)
    expect((await told).value).toMatchObject({ type: 'stopped', id, exit: { code: 0 } })
    expect((await machines.driver.getStatus(id, ctx)).state).toBe('stopped')
    await events.return?.()
  } finally {
    supervisor.kill('SIGKILL')
  }
})
