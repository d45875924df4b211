import { parseConfig } from '@vmkit/core'
import { VMKitError } from '@vmkit/core/driver'
import { expect, it } from 'vitest'
import type { Host, Machine } from './host.js'
import { extensionsOf, idOf, LABEL } from './record.js'
import { disarm } from './restart.js'

it('what the monitor writes back, as it has read it before, is taken away again', async () => {
  const uid = '0123456789abcdef'
  const config = parseConfig({ name: 'm', restart: 'always' })
  const record = { uid, config, createdAt: 1, root: '/none', cgroupsPath: '/x', workdir: '/' }
  const armed = { 'containerd.io/restart.status': 'running', 'containerd.io/restart.policy': 'always' }
  const own = { [LABEL.mark]: 'containerd', [LABEL.uid]: uid }
  let labels: Record<string, string> = { ...own, ...armed }
  let writes = 0
  const client = {
    containers: {
      get: async () => ({ container: { id: 'm', labels: { ...labels }, extensions: extensionsOf(record as never) } }),
      update: async ({ container }: { container: { labels: Record<string, string> } }) => {
        writes += 1
        labels = { ...container.labels, ...(writes === 1 ? armed : {}) }
      },
    },
    tasks: {
      get: async () => {
        throw new VMKitError('NOT_FOUND', 'no task')
      },
    },
  }
  const containerd = async () => client
  const host = { driver: 'containerd', containerd, looking: containerd } as unknown as Host
  await disarm(host, { id: idOf('m', uid), record } as unknown as Machine)
  expect(writes).toBe(2)
  expect(Object.keys(labels).filter((label) => label.startsWith('containerd.io/restart.'))).toEqual([])
})
