import { expect, it } from 'vitest'
import { bench, ctx, line, lives, until } from './tools.js'

// The last one has left the session and its parent, and ignores SIGTERM: what a daemon does.
const FAMILY = `sleep 1000 & a=$!
setsid sh -c 'trap "" TERM HUP; (trap "" TERM; while :; do sleep 1; done) & echo family '$a' $!' &
wait $!
`

function pids(text: string): number[] {
  return text.split(' ').slice(1).map(Number)
}

it('stop ends children, and a daemon that left the session', async () => {
  await using machines = bench()
  const id = await machines.start(['sh', '-c', `${FAMILY} sleep 1000`])
  const family = pids(await line(machines.driver, id, /^family/))
  expect(family.every(lives)).toBe(true)
  await machines.driver.stop(id, { graceMs: 200 }, ctx)
  await until('the end of the family', () => !family.some(lives))
})

it('what main leaves behind ends with it', async () => {
  await using machines = bench()
  const id = await machines.start(['sh', '-c', `${FAMILY} exit 4`])
  expect((await machines.driver.wait(id, ctx)).code).toBe(4)
  const family = pids(await line(machines.driver, id, /^family/))
  await until('the end of the family', () => !family.some(lives))
})

it('main that ignores SIGTERM is killed after the grace, and not before', async () => {
  await using machines = bench()
  const id = await machines.start(['sh', '-c', 'trap "" TERM; echo ready; while :; do sleep 0.1; done'])
  await line(machines.driver, id, /ready/)
  const startedAt = performance.now()
  await machines.driver.stop(id, { graceMs: 300 }, ctx)
  expect(performance.now() - startedAt).toBeGreaterThanOrEqual(299)
  expect((await machines.driver.getStatus(id, ctx)).exit).toMatchObject({ code: null, signal: 'SIGKILL' })
})

it('kill 0 of main does not reach its supervisor', async () => {
  await using machines = bench()
  const { exit } = await machines.run(['sh', '-c', 'sleep 100 & trap "exit 7" TERM; kill -TERM 0; sleep 1'])
  expect(exit.code).toBe(7)
})

it('a paused machine stands still, children too, and stops', async () => {
  await using machines = bench()
  const id = await machines.start(['sh', '-c', '(while :; do echo child; sleep 0.01; done) & while :; do echo main; sleep 0.01; done'])
  await line(machines.driver, id, /child/)
  await machines.driver.pause(id, ctx)
  const sizes = async (): Promise<number> => {
    let count = 0
    for await (const _ of machines.driver.logs(id, {}, ctx)) count += 1
    return count
  }
  const before = await sizes()
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(await sizes()).toBe(before)
  await machines.driver.resume(id, ctx)
  await until('new lines', async () => (await sizes()) > before)
  await machines.driver.pause(id, ctx)
  await machines.driver.stop(id, { graceMs: 2000 }, ctx)
  expect((await machines.driver.getStatus(id, ctx)).state).toBe('stopped')
})
