import { after, before, describe, it } from 'node:test'
import { conformance } from '@vmkit/conformance'
import { mock, mockBackend } from '@vmkit/mock/driver'

const backend = mockBackend()

conformance({
  runner: { describe, it, before, after },
  createDriver: () => mock({ backend }),
  machine: (workload) => (workload.does === 'idle' ? { command: ['sleep', 'infinity'] } : { cannot: 'it only sleeps' }),
  only: ['manifest', 'create', 'states'],
})
