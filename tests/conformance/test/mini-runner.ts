import type { Runner } from '@vmkit/conformance'

export interface Outcome {
  /** `concern: title` of every test that failed, with its message. */
  failed: Map<string, string>
  passed: string[]
  skipped: string[]
}

/** The smallest runner the kit can have: it keeps what is defined, and runs it in order when told to. */
export function miniRunner(): { runner: Runner; run(): Promise<Outcome> } {
  const before: (() => Promise<void>)[] = []
  const after: (() => Promise<void>)[] = []
  const tests: { name: string; run: (context: unknown) => Promise<void> }[] = []
  const path: string[] = []

  const runner: Runner = {
    describe(name, define) {
      path.push(name)
      define()
      path.pop()
    },
    it: (name, run) => tests.push({ name: [...path.slice(1), name].join(': '), run }),
    before: (run) => before.push(run),
    after: (run) => after.push(run),
  }

  async function run(): Promise<Outcome> {
    const outcome: Outcome = { failed: new Map(), passed: [], skipped: [] }
    async function attempt(name: string, task: (context: unknown) => Promise<void>): Promise<void> {
      let skipped = false
      try {
        await task({
          skip() {
            skipped = true
          },
        })
        ;(skipped ? outcome.skipped : outcome.passed).push(name)
      } catch (error) {
        outcome.failed.set(name, error instanceof Error ? error.message : String(error))
      }
    }
    for (const hook of before) await attempt('before', hook)
    for (const { name, run: test } of tests) await attempt(name, test)
    for (const hook of after) await attempt('after', hook)
    return outcome
  }

  return { runner, run }
}
