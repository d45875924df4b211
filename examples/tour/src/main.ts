import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createManager, VMKitError } from '@vmkit/core'
import { jobs, mockServer } from './drivers.js'
import { runJob } from './job.js'
import { matrix, type Visited } from './matrix.js'
import { heading, paint, settle } from './output.js'
import { type Timing, timingTable } from './timings.js'

const interrupt = new AbortController()
// Not `once`: a terminal's Ctrl-C may come twice, from the terminal and from npm, and must not cut the clean-up short.
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  process.on(signal, () => {
    process.exitCode = code
    interrupt.abort(new Error(`the tour got ${signal}`))
  })
}
// Whoever reads the output has left, as with `npm start | head`.
process.stdout.on('error', (error) => interrupt.abort(error))

/** A folder of its own, so that the tour cannot meet the machines of another app, and takes all of it away at the end. */
const stateDir = await mkdtemp(join(tmpdir(), 'vmkit-tour-'))
try {
  await tour(interrupt.signal)
} catch (error) {
  process.exitCode ||= 1
  settle(paint('red', describe(error)))
} finally {
  await rm(stateDir, { recursive: true, force: true })
}

async function tour(signal: AbortSignal): Promise<void> {
  // Leaving this function, also by an error, closes the manager: it deletes every machine that is still there.
  await using manager = createManager({ drivers: { mock: { programs: { server: mockServer } }, process: { stateDir } } })
  const drivers: Visited[] = await Promise.all(
    manager.drivers.map(async (name) => {
      const handle = manager.lookup(name)
      return { name, handle, probe: await handle.probe({ signal }) }
    }),
  )
  console.log(`${paint('bold', 'vmkit')} on Node.js ${process.versions.node}, ${process.platform} ${process.arch}`)
  heading('What the drivers can do on this host')
  console.log(matrix(drivers))

  const results = new Map<string, Timing[]>()
  for (const { name, handle, probe } of drivers) {
    const job = jobs[name]
    if (!probe.available || !job) continue
    heading(`An HTTP server on ${name}`)
    try {
      results.set(name, await runJob(handle, await job(), signal))
    } catch (error) {
      signal.throwIfAborted()
      process.exitCode = 1
      settle(paint('red', describe(error)))
    }
  }
  heading('How long it took')
  console.log(timingTable(results))
  const left = (await Promise.all([...results.keys()].map((name) => manager.lookup(name).list()))).flat()
  console.log(`\n${results.size} drivers ran the job; ${left.length} machines are left.`)
}

function describe(error: unknown): string {
  if (!(error instanceof VMKitError)) return String(error)
  const { code, message, hint, evidence } = error
  const tail = evidence?.logTail?.map((text) => `\n  | ${text}`).join('') ?? ''
  return `${code}: ${message}${hint === undefined ? '' : `\n  ${hint}`}${tail}`
}
