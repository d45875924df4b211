import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CAPABILITIES } from '@vmkit/core'
import { afterEach, beforeEach, expect, it } from 'vitest'

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))
const tsx = import.meta.resolve('tsx')
const hold = import.meta.resolve('./hold.mjs')
let temp: string

// A temp folder for the tour alone: what is left there, or runs there, is the tour's.
beforeEach(() => {
  temp = mkdtempSync(join(tmpdir(), 'vmkit-test-'))
})
afterEach(() => rmSync(temp, { recursive: true, force: true }))

it('shows the matrix and the timings, does every job, and leaves nothing', async () => {
  const { output, ended } = tour()
  expect(await ended, output()).toEqual([0, null])
  const text = output()
  for (const capability of CAPABILITIES) expect(text).toMatch(new RegExp(`^ {2}${capability.replace('.', '\\.')} .*(yes|no|-)`, 'm'))
  expect(text).toMatch(/^ {2}\[\d\] mock, vnc: a mock machine has no screen$/m)
  for (const step of ['create', 'start', 'wait for port', 'call', 'exec', 'logs', 'metrics', 'pause', 'resume', 'stop', 'delete'])
    expect(text.split('How long it took')[1]).toMatch(new RegExp(`^ {2}${step} +\\d+\\.\\d +\\d+\\.\\d$`, 'm'))
  expect(text).toContain('2 drivers ran the job; 0 machines are left.')
  expect(text.split('\n').filter((line) => line.length > 100)).toEqual([])
  expect(text).not.toContain('\u001b')
  expect(text).not.toContain('\r')
  await nothingLeft()
})

it.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('leaves nothing when %s comes in the middle', async (signal, code) => {
  const { child, output, ended, printed } = tour(hold)
  await printed(/An HTTP server on process\n {2}create.*\n {2}start/)
  expect(left().length, 'the machine must run when the signal comes').toBeGreaterThan(0)
  child.kill(signal)
  expect(await ended).toEqual([code, null])
  expect(output()).toContain(`the tour got ${signal}`)
  await nothingLeft()
})

it('leaves nothing when its reader goes away', async () => {
  const { child, ended, printed } = tour(hold)
  await printed(/An HTTP server on process\n {2}create/)
  child.stdout?.destroy()
  const [code] = await ended
  expect(code).not.toBe(0)
  await nothingLeft()
})

function tour(...preloads: string[]) {
  const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env
  const imports = [tsx, ...preloads].flatMap((module) => ['--import', module])
  const child: ChildProcess = spawn(process.execPath, [...imports, main], { env: { ...env, TMPDIR: temp, FORCE_COLOR: undefined } })
  let output = ''
  const waiting = new Set<() => void>()
  const hear = (chunk: unknown): void => {
    output += String(chunk)
    for (const look of waiting) look()
  }
  child.stdout?.on('data', hear)
  child.stderr?.on('data', hear)
  const ended = new Promise<[number | null, string | null]>((resolve) => child.once('close', (code, signal) => resolve([code, signal])))
  const printed = (pattern: RegExp): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        if (pattern.test(output)) resolve()
      }
      waiting.add(look)
      void ended.then(() => reject(new Error(`it ended first:\n${output}`)))
      look()
    })
  return { child, ended, printed, output: () => output }
}

/** The shell that looked after a machine ends by itself, when it has told how that one did. */
async function nothingLeft(): Promise<void> {
  await expect.poll(left, { timeout: 10_000 }).toEqual([])
}

/** State folders of the tour, and processes that work below them or were given them. */
function left(): string[] {
  const folders = readdirSync(temp).filter((name) => name.startsWith('vmkit-tour-'))
  const processes = readdirSync('/proc').filter(
    (pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid && mentions(pid, join(temp, 'vmkit-tour-')),
  )
  return [...folders, ...processes]
}

function mentions(pid: string, path: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/cwd`).startsWith(path) || readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(path)
  } catch {
    return false // it has ended
  }
}
