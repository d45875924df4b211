import { fileURLToPath } from 'node:url'
import { conformance, type Workload } from '@vmkit/conformance'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { threads } from '../src/threads.js'

const program = fileURLToPath(new URL('workload.js', import.meta.url))
// Without `logs` the kit cannot see what a machine writes, so it asks for no other work.
const done: readonly Workload['does'][] = ['idle', 'exit', 'stubborn', 'die']

conformance({
  runner: { describe, it, before: beforeAll, after: afterAll },
  createDriver: threads,
  machine: (workload) =>
    done.includes(workload.does)
      ? { command: [program, JSON.stringify(workload)] }
      : { cannot: `the thread program of this example does not ${workload.does}` },
})
