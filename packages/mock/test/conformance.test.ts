import { conformance } from '@vmkit/conformance'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { packEntries } from '../src/archive.js'
import { mock, mockBackend } from '../src/driver.js'
import { workload } from './workload.js'

const programs = { workload }
const IMAGE = 'busybox:1.36'
const backend = mockBackend({ programs, registry: [IMAGE] })
const IMPOSSIBLE = { tree: 'a mock program has no child processes', alive: 'a mock program has no process ids' }

conformance({
  runner: { describe, it, before: beforeAll, after: afterAll },
  createDriver: () => mock({ backend }),
  createTarget: () => mock({ programs }),
  machine: (work) =>
    work.does in IMPOSSIBLE
      ? { cannot: IMPOSSIBLE[work.does as keyof typeof IMPOSSIBLE] }
      : { command: ['workload', JSON.stringify(work)] },
  command: (work) =>
    work.does in IMPOSSIBLE ? { cannot: IMPOSSIBLE[work.does as keyof typeof IMPOSSIBLE] } : ['workload', JSON.stringify(work)],
  disrupt: { down: async () => backend.disconnect(), up: async () => backend.reconnect() },
  images: {
    reference: IMAGE,
    missing: 'nobody/nothing:0',
    archive: () => packEntries([{ name: 'layer', node: { type: 'file', mode: 0o644, modifiedAt: 0, content: Buffer.from('layer') } }]),
    buildContext: `${import.meta.dirname}/context`,
  },
  device: { type: 'host', path: '/dev/null' },
})
