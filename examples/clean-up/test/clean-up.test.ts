import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createManager } from '@vmkit/core'
import { processDriver } from '@vmkit/process/driver'
import { afterEach, expect, it } from 'vitest'

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))
const stateDir = mkdtempSync(join(tmpdir(), 'vmkit-clean-up-'))
const manager = createManager({ drivers: { process: processDriver({ stateDir }) } })
const machines = () => manager.list({ driver: 'process' })

afterEach(async () => {
  for (const { id } of await machines()) await (await manager.get('process', id)).delete({ force: true })
  await manager.close()
  rmSync(stateDir, { recursive: true, force: true })
})

it('deletes its machine when it is told to end, and those of a run that was killed', async () => {
  const killed = await app()
  killed.child.kill('SIGKILL')
  await killed.ended
  expect((await machines()).map(({ name, state }) => [name, state])).toEqual([[killed.machine, 'running']])

  const next = await app()
  expect(next.output()).toContain(`deleted ${killed.machine}: its owner, process ${killed.child.pid}, is gone`)
  expect((await machines()).map(({ name }) => name)).toEqual([next.machine])

  next.child.kill('SIGTERM')
  await next.ended
  expect(await machines()).toEqual([])
})

/** The example, at the moment when its machine runs. */
async function app() {
  const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env
  const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), main], { env: { ...env, APP_STATE: stateDir } })
  let output = ''
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const machine = await new Promise<string>((resolve, reject) => {
    const hear = (chunk: unknown): void => {
      output += String(chunk)
      const name = /^started (\S+)$/m.exec(output)?.[1]
      if (name !== undefined) resolve(name)
    }
    child.stdout.on('data', hear)
    child.stderr.on('data', hear)
    void ended.then(() => reject(new Error(`it ended first:\n${output}`)))
  })
  return { child, ended, machine, output: () => output }
}
