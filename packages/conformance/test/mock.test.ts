import { mock, mockBackend } from '@vmkit/mock/driver'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { conformance } from '../src/index.js'
import { work, workCommand } from './mock-programs.js'

const backend = mockBackend({ programs: { work }, registry: ['example.com/kit:1'] })

conformance({
  runner: { describe, it, before: beforeAll, after: afterAll },
  createDriver: () => mock({ backend }),
  machine: (workload) => ({ command: workCommand(workload) }),
  command: workCommand,
  disrupt: { down: async () => backend.disconnect(), up: async () => backend.reconnect() },
  images: { reference: 'example.com/kit:1', missing: 'example.com/none:1' },
  createTarget: () => mock({ programs: { work } }),
  device: { type: 'cdi', name: 'vendor.com/gpu=0' },
})
