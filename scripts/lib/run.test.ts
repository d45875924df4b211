import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { readLog, run } from './run.js'

it('a command is over when it has ended, whatever it has left running', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'vmkit-run-'))
  const log = join(folder, 'log')
  const startedAt = performance.now()
  expect(await run(['sh', '-c', 'sleep 20 & echo told; exit 3'], { log })).toBe(3)
  expect(performance.now() - startedAt).toBeLessThan(15_000)
  expect(await readLog(log)).toContain('told')
  await rm(folder, { recursive: true })
})

it('a command that is not there is an error', async () => {
  await expect(run(['/no/such/program'], { log: join(tmpdir(), `vmkit-run-${process.pid}.log`) })).rejects.toThrow('ENOENT')
  await rm(join(tmpdir(), `vmkit-run-${process.pid}.log`), { force: true })
})
