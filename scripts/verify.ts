/** Runs every check and test (`--checks`: the checks alone), and ends with one line of counts. */
import { join } from 'node:path'
import { freshFolder } from './lib/reports.js'
import { readLog } from './lib/run.js'
import { everything, type Outcome, onlyChecks, type Stage, type Step } from './lib/steps.js'
import { table } from './lib/table.js'

interface Result extends Outcome {
  name: string
  seconds: string
}

const logs = await freshFolder('logs')
const stages = process.argv.includes('--checks') ? onlyChecks() : everything()
const results: Result[] = []
let broken = false
for (const stage of stages) {
  const ended: Result[] = broken ? stage.steps.map(notRun) : await runStage(stage)
  broken ||= ended.some((result, index) => stage.steps[index]?.essential && result.failed > 0)
  results.push(...ended)
}
const sum = (key: 'passed' | 'failed' | 'skipped'): number => results.reduce((total, result) => total + result[key], 0)
for (const { note } of results) if (note !== undefined) console.log(`\n${note}`)
const rows = results.map((result) => [
  result.name,
  verdict(result),
  `${result.passed}`,
  `${result.failed}`,
  `${result.skipped}`,
  result.seconds,
])
console.log(`\n${table([['step', 'result', 'passed', 'failed', 'skipped', 'seconds'], ...rows])}`)
console.log(`\n${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped`)
process.exitCode = sum('failed') > 0 ? 1 : 0

async function runStage({ steps, parallel }: Stage): Promise<Result[]> {
  const finished = new Map<Step, Result>()
  const waiting = [...steps]
  const worker = async (): Promise<void> => {
    for (let step = waiting.shift(); step; step = waiting.shift()) finished.set(step, await runStep(step))
  }
  await Promise.all(Array.from({ length: parallel }, worker))
  return steps.flatMap((step) => finished.get(step) ?? [])
}

async function runStep(step: Step): Promise<Result> {
  const log = join(logs, `${step.name.replace(/[^a-z0-9.]+/gi, '-')}.log`)
  const started = performance.now()
  const outcome = await step.run(log).catch((error: unknown): Outcome => ({ passed: 0, failed: 1, skipped: 0, note: String(error) }))
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  const result = { name: step.name, seconds, ...outcome }
  if (outcome.failed > 0) console.log(`\n--- ${step.name}\n${whatFailed(await readLog(log))}---`)
  console.log(`${verdict(result).padEnd(6)}  ${step.name} (${seconds} s)`)
  return result
}

/** vitest tells of failures after a line for every test that ran. */
function whatFailed(log: string): string {
  const heading = log.search(/^.*Failed (Tests|Suites) \d+/m)
  return heading === -1 ? log : log.slice(heading)
}

function notRun(step: Step): Result {
  return { name: step.name, passed: 0, failed: 0, skipped: 1, seconds: '-' }
}

function verdict({ failed, seconds }: Result): string {
  if (seconds === '-') return 'not run'
  return failed > 0 ? 'FAILED' : 'ok'
}
