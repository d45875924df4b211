import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { bench, ctx, lives, logs, until } from './tools.js'

const APP = fileURLToPath(new URL('app.mjs', import.meta.url))

function app(stateDir: string, ...args: string[]): ChildProcess & { lines: AsyncIterableIterator<string> } {
  // Without it Node starts faster.
  const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env
  const child = spawn(process.execPath, [APP, JSON.stringify({ stateDir }), ...args], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  const reader = createInterface({ input: child.stdout })
  return Object.assign(child, { lines: reader[Symbol.asyncIterator]() as AsyncIterableIterator<string> })
}

async function answer(child: ReturnType<typeof app>): Promise<unknown> {
  const { value } = await child.lines.next()
  return JSON.parse(value as string)
}

it('a machine outlives its app, and its exit and output are exact', async () => {
  await using machines = bench()
  const child = app(machines.stateDir, 'orphan', 'orphan', 'sleep 0.2; echo still here; exit 42')
  const gone = once(child, 'exit')
  const id = (await answer(child)) as string
  expect(await gone).toEqual([null, 'SIGKILL'])
  expect(await machines.driver.find('orphan', ctx)).toBe(id)
  expect((await machines.driver.wait(id, ctx)).code).toBe(42)
  expect((await logs(machines.driver, id)).map(({ text }) => text)).toEqual(['still here'])
})

// Twelve starts of Node one after another: 6 s here, 30 s on a host that has ten other things to do.
it('an app killed at any instant leaves whole machines or nothing, and what it left is cleaned up', { timeout: 240_000 }, async () => {
  await using machines = bench()
  for (let round = 0; round < 12; round += 1) {
    const child = app(machines.stateDir, 'churn')
    const gone = once(child, 'exit')
    await child.lines.next()
    await new Promise((resolve) => setTimeout(resolve, (round * 37) % 50))
    child.kill('SIGKILL')
    await gone
    for (const { id, state } of await machines.driver.list({}, ctx)) {
      expect(['created', 'starting', 'running', 'stopped']).toContain(state)
      const { config, pid } = await machines.driver.getInfo(id, ctx)
      expect(config.command).toEqual(['sleep', '1000'])
      await machines.driver.delete(id, { force: true }, ctx)
      if (pid !== null) await until('the end of main', () => !lives(pid))
    }
  }
  await machines.create(['true'])
  expect(readdirSync(join(machines.stateDir, 'building'))).toEqual([])
})

it('of many that create one name one succeeds', async () => {
  await using machines = bench()
  const answers = await Promise.all(Array.from({ length: 6 }, () => answer(app(machines.stateDir, 'create', 'only'))))
  expect(answers.filter((text) => text === 'created').length).toBe(1)
  expect(new Set(answers)).toEqual(new Set(['created', 'ALREADY_EXISTS']))
  expect((await machines.driver.list({}, ctx)).length).toBe(1)
})

it('two apps that start and stop one machine do not corrupt it', { timeout: 60_000 }, async () => {
  await using machines = bench()
  const id = await machines.create(['sleep', '1000'])
  expect(await Promise.all([answer(app(machines.stateDir, 'cycle', id)), answer(app(machines.stateDir, 'cycle', id))])).toEqual([
    'done',
    'done',
  ])
  expect((await machines.driver.getStatus(id, ctx)).state).toBe('stopped')
  await machines.driver.start(id, ctx)
  expect((await machines.driver.getStatus(id, ctx)).state).toBe('running')
})

it('of two that delete one succeeds', async () => {
  await using machines = bench()
  const id = await machines.start(['sleep', '1000'])
  const answers = await Promise.all([answer(app(machines.stateDir, 'delete', id)), answer(app(machines.stateDir, 'delete', id))])
  expect(answers.sort()).toEqual(['NOT_FOUND', 'deleted'])
})

it('an aborted start leaves the machine as it was', async () => {
  await using machines = bench()
  const id = await machines.create(['sleep', '1000'])
  for (let i = 0; i < 20; i += 1) {
    const controller = new AbortController()
    const starting = machines.driver.start(id, { ...ctx, signal: controller.signal })
    setTimeout(() => controller.abort(new Error('enough')), i / 4)
    const outcome = await starting.then(
      () => 'running',
      () => 'created',
    )
    const { state, exit } = await machines.driver.getStatus(id, ctx)
    expect(state === 'running' ? 'running' : exit ? state : 'created').toBe(outcome === 'created' && exit ? 'stopped' : outcome)
    await machines.driver.stop(id, { graceMs: 0 }, ctx)
  }
})
