import { mock, mockBackend } from '@vmkit/mock/driver'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { conformance } from '../src/index.js'
import { work, workCommand } from './mock-programs.js'

const backend = mockBackend({ programs: { work } })

conformance({
  runner: { describe, it, before: beforeAll, after: afterAll },
  createDriver: () => mock({ backend }),
  machine: (workload) => ({ command: workCommand(workload) }),
  command: workCommand,
})
