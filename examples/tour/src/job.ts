import type { Capability, DriverHandle, VMMetrics } from '@vmkit/core'
import type { Job } from './drivers.js'
import { paint, pending, settle } from './output.js'
import { milliseconds, type Timing } from './timings.js'

const READY_WITHIN_MS = 20_000

/** One machine from create to delete. Whatever happens on the way, it is deleted. */
export async function runJob(driver: DriverHandle, job: Job, signal: AbortSignal): Promise<Timing[]> {
  const timings: Timing[] = []

  async function step<T>(name: string, run: () => Promise<T>, tell: (value: T) => string | Promise<string>): Promise<T> {
    pending(line(name, '…', ''))
    const startedAt = performance.now()
    const value = await run()
    const ms = performance.now() - startedAt
    timings.push({ step: name, ms })
    settle(line(name, milliseconds(ms), await tell(value)))
    return value
  }
  const skip = (name: string, capability: Capability): void => {
    timings.push({ step: name })
    settle(line(name, '-', paint('yellow', vm.missing[capability] ?? '')))
  }

  await using vm = await step(
    'create',
    () => driver.create(job.config, { signal }),
    ({ name }) => name,
  )
  const state = async (): Promise<string> => (await vm.status({ signal })).state
  await step('start', () => vm.start({ signal }), state)
  await step(
    'wait for port',
    () => vm.waitFor({ port: job.port, timeoutMs: READY_WITHIN_MS, signal }),
    () => `port ${job.port} of the machine answers`,
  )
  const { host, port } = await vm.endpoint(job.port, { signal })
  await step(
    'call',
    () => call(`http://${host}:${port}/`, signal),
    (answer) => `http://${host}:${port}/ says ${answer}`,
  )

  if (vm.supports('exec'))
    await step(
      'exec',
      () => vm.exec(job.command, { signal }),
      ({ exitCode, stdout }) => `exit ${exitCode}, ${JSON.stringify(stdout.trim())}`,
    )
  else skip('exec', 'exec')
  if (vm.supports('logs'))
    await step(
      'logs',
      () => lines(vm.logs({ signal })),
      (texts) => `the last line is ${JSON.stringify(texts.at(-1))}`,
    )
  else skip('logs', 'logs')
  await step('metrics', () => vm.metrics({ signal }), describe)
  if (vm.supports('pause')) {
    await step('pause', () => vm.pause({ signal }), state)
    await step('resume', () => vm.resume({ signal }), state)
    await step(
      'call again',
      () => call(`http://${host}:${port}/again`, signal),
      (answer) => answer,
    )
  } else for (const name of ['pause', 'resume', 'call again']) skip(name, 'pause')

  const ending = async (): Promise<string> => {
    const { code, signal: by } = await vm.wait({ signal })
    return by === null ? `exit code ${code}` : `ended by ${by}`
  }
  await step('stop', () => vm.stop({ signal }), ending)
  await step(
    'delete',
    () => vm.delete({ signal }),
    () => 'gone',
  )
  return timings
}

function line(name: string, time: string, detail: string): string {
  return `  ${name.padEnd(14)}${time.padStart(9)}  ${detail}`.trimEnd()
}

async function call(url: string, signal: AbortSignal): Promise<string> {
  const response = await fetch(url, { signal, headers: { connection: 'close' } })
  return `${response.status}, ${JSON.stringify(await response.text())}`
}

async function lines(entries: AsyncIterable<{ text: string }>): Promise<string[]> {
  const texts: string[] = []
  for await (const { text } of entries) texts.push(text)
  return texts
}

/** What the backend does not tell is left out. */
function describe({ memory, cpu, pids, source }: VMMetrics): string {
  const facts = [
    memory.usedBytes === null ? undefined : `${(memory.usedBytes / 2 ** 20).toFixed(1)} MiB`,
    cpu.usageMs === null ? undefined : `${cpu.usageMs.toFixed(0)} ms of CPU`,
    pids === null ? undefined : `${pids} ${pids === 1 ? 'process' : 'processes'}`,
  ]
  return `${facts.filter((fact) => fact !== undefined).join(', ')} (from ${source})`
}
