import { randomBytes } from 'node:crypto'
import { type Capability, createManager, type HostProbe, type VMConfig, VMKitError, type VMManager } from '@vmkit/core'
import type { CallContext, VMDriver } from '@vmkit/core/driver'
import { type Child, startChild } from './children.js'
import type { Cannot, Concern, ConformanceOptions, Workload } from './options.js'
import { randomFrom } from './random.js'
import { newReport, noteProbe, type Report, render, store } from './report.js'
import type { FullHandle, FullVM, Gate, Test, Tools } from './tools.js'
import { until, within } from './waiting.js'
import { shellCommand } from './workloads.js'

/** What everything that the kit makes carries, with the run's id as the value. */
export const LABEL = 'vmkit-conformance'
const TEST_LIMIT_MS = 30_000
const CLEANUP_LIMIT_MS = 30_000

/** Thrown by a test that finds that it cannot run. */
class Skip {
  constructor(readonly reason: string) {}
}

/** One run over one driver: shared by all tests, which run one after the other. */
export interface Kit {
  readonly report: Report
  /** Why no manager, or no probe, could be had. */
  readonly failure: unknown
  suite(concern: Concern, define: (test: Test) => void): void
  open(): Promise<void>
  close(): Promise<void>
}

type Manager = VMManager<{ subject: VMDriver }>

export function createKit(options: ConformanceOptions): Kit {
  const { runner, patience = 1, seed = randomBytes(4).readUInt32LE() } = options
  const run = randomBytes(3).toString('hex')
  const random = randomFrom(seed)
  const facts = options.createDriver()
  const report = newReport(facts, options.variant, seed)
  let manager: Manager | undefined
  let probe: HostProbe | undefined
  let failure: unknown
  let present: readonly string[] = []
  let counter = 0

  const newManager = (): Manager => createManager({ drivers: { subject: options.createDriver() } })
  const handleOf = (of: Manager): FullHandle => of.lookup('subject') as unknown as FullHandle
  const newName = (): string => `kit-${run}-${++counter}`

  /** A failure here is told by every test, instead of hiding them all. */
  async function open(): Promise<void> {
    try {
      present = (await options.leftovers?.()) ?? []
      manager = newManager()
      const handle = handleOf(manager)
      probe = await within(30_000 * patience, 'the probe', handle.probe())
      noteProbe(report, probe)
      report.refused = Object.entries(handle.missing).map(([capability, reason]) => ({ capability: capability as Capability, reason }))
    } catch (error) {
      failure = error
      report.reason = `no manager or no probe: ${error instanceof Error ? error.message : error}`
    }
  }

  /** Removes what a test has left, whoever made it. */
  async function clean(): Promise<number> {
    if (!manager || !probe?.available) return 0
    const handle = handleOf(manager)
    const left = (await handle.list()).filter(({ name, labels }) => name.startsWith(`kit-${run}-`) || labels[LABEL] === run)
    await Promise.all(
      left.map(async ({ id }) => {
        try {
          await (await handle.get(id)).delete({ force: true })
        } catch (error) {
          if (!(error instanceof VMKitError && error.code === 'NOT_FOUND')) throw error
        }
      }),
    )
    return left.length
  }

  /** Compares the host with how the run found it; what a backend is still removing gets a moment. */
  async function assertNothingLeft(): Promise<void> {
    if (!options.leftovers) return
    let more: string[] = []
    await until(20_000 * patience, 'clean-up', async () => {
      more = ((await options.leftovers?.()) ?? []).filter((line) => !present.includes(line))
      return more.length === 0
    }).catch(() => {
      throw new Error(`left on the host, and listed nowhere: ${more.join(', ')}`)
    })
  }

  async function close(): Promise<void> {
    try {
      await clean()
      if (manager && probe?.available) {
        const left = (await handleOf(manager).list()).filter(({ labels }) => labels[LABEL] === run)
        if (left.length > 0) throw new Error(`machines of the kit are left: ${left.map(({ name }) => name).join(', ')}`)
        await assertNothingLeft()
      }
    } catch (error) {
      report.failed.push('the kit leaves nothing behind')
      throw error
    } finally {
      await manager?.close()
      await facts.close()
      await store(report)
      ;(options.print ?? console.log)(render(report))
    }
  }

  function chosen<T>(answer: T | Cannot | undefined, workload: Workload): T {
    if (answer === undefined) throw new Skip(`the fixture has no machine that can ${JSON.stringify(workload.does)}`)
    if (typeof answer === 'object' && answer !== null && 'cannot' in answer) throw new Skip(answer.cannot)
    return answer
  }

  /** Why a test cannot run here; the manifest, the probe and the fixture decide, nothing else. */
  function closedGate(gate: Gate): string | undefined {
    if (gate.early) return undefined
    if (!probe || !manager) throw failure
    if (!probe.available) return `no backend here: ${probe.reason}`
    const handle = handleOf(manager)
    for (const capability of gate.needs ?? []) {
      const reason = handle.missing[capability]
      if (reason !== undefined) return `${capability}: ${reason}`
    }
    if (gate.durability === 'host' && facts.durability !== 'host') return 'its machines die with the app (durability `app`)'
    for (const hook of gate.hooks ?? []) if (!options[hook]) return `the fixture has no \`${hook}\``
    return undefined
  }

  function tools(gate: Gate, undo: (() => Promise<unknown>)[]): Tools {
    const shared = manager as Manager
    const driver = shared && handleOf(shared)
    const t: Tools = {
      options,
      run,
      driver,
      facts,
      probe: probe as HostProbe,
      random,
      ms: (ms) => ms * patience,
      name: newName,
      skip(reason) {
        throw new Skip(reason)
      },
      config(workload, extra = {}) {
        const base = chosen<VMConfig>(options.machine(workload), workload)
        return { ...base, name: newName(), ...extra, labels: { ...base.labels, ...extra.labels, [LABEL]: run } }
      },
      async create(workload, extra) {
        const vm = (await driver.create(t.config(workload, extra), { onDispose: 'detach' })) as unknown as FullVM
        for (const capability of gate.needs ?? [])
          if (vm.missing[capability] !== undefined) throw new Skip(`${capability}: ${vm.missing[capability]}`)
        return vm
      },
      async start(workload, extra) {
        const vm = await t.create(workload, extra)
        await vm.start()
        return vm
      },
      command: (workload) => chosen((options.command ?? shellCommand)(workload), workload),
      second() {
        const other = newManager()
        undo.push(() => other.close())
        return { manager: other, driver: handleOf(other) }
      },
      raw() {
        const other = options.createDriver()
        undo.push(() => other.close())
        return other
      },
      context: (): CallContext => ({ signal: new AbortController().signal, deadline: undefined, report: () => {} }),
      async child(): Promise<Child> {
        if (!options.child)
          throw new Error('The driver has durability `host`, so the fixture needs `child`: how another process makes the same driver')
        const starting = startChild(options.child, 20_000 * patience)
        // Before it is there: a test that fails meanwhile must not leave it.
        undo.push(() => starting.then((child) => child.end()).catch(() => {}))
        return starting
      },
      undo: (task) => void undo.push(task),
      assertNothingLeft,
      mine: async () => (await driver.list()).filter(({ labels, name }) => labels[LABEL] === run || name.startsWith(`kit-${run}-`)),
      until: (what, condition, ms = 10_000) => until(ms * patience, what, condition),
      within: (ms, what, promise) => within(ms * patience, what, promise),
    }
    return t
  }

  async function runTest(gate: Gate, body: (t: Tools) => Promise<void>): Promise<void> {
    const closed = closedGate(gate)
    if (closed !== undefined) throw new Skip(closed)
    const undo: (() => Promise<unknown>)[] = []
    try {
      await within((gate.limitMs ?? TEST_LIMIT_MS) * patience, 'the end of the test', body(tools(gate, undo)))
    } finally {
      for (const task of undo.reverse()) await within(CLEANUP_LIMIT_MS * patience, 'clean-up after the test', task())
      await within(CLEANUP_LIMIT_MS * patience, 'clean-up after the test', clean())
    }
  }

  function suite(concern: Concern, define: (test: Test) => void): void {
    if (options.only && !options.only.includes(concern)) return
    runner.describe(concern, () =>
      define((title, gate, body) => {
        const name = `${concern}: ${title}`
        const limit = ((gate.limitMs ?? TEST_LIMIT_MS) + 2 * CLEANUP_LIMIT_MS) * patience
        runner.it(
          title,
          async (...context) => {
            try {
              await runTest(gate, body)
              report.passed += 1
            } catch (error) {
              if (!(error instanceof Skip)) {
                report.failed.push(name)
                throw error
              }
              report.skipped.push({ test: name, reason: error.reason })
              markSkipped(context[0], error.reason)
            }
          },
          limit,
        )
      }),
    )
  }

  return {
    report,
    suite,
    open,
    close,
    get failure() {
      return failure
    },
  }
}

/** Vitest and node:test hand a context with `skip` to the test, so that their own count says it too. */
function markSkipped(context: unknown, reason: string): void {
  const skip = (context as { skip?: (reason: string) => void } | undefined)?.skip
  if (typeof skip === 'function') skip.call(context, reason)
}
