import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseConfig } from '@vmkit/core'
import { VMKitError } from '@vmkit/core/driver'
import { withLock } from '@vmkit/core/state-folder'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { TASK_STATUS } from '../grpc/enums.js'
import { type Host, unaborted } from '../host.js'
import { extensionsOf, LABEL } from '../record.js'
import { machineFolder } from '../state-dir.js'
import { releaseIfOver } from './connect.js'

const UID = '0123456789abcdef'
let root: string
let status: number | undefined
let host: Host

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'vmkit-connect-'))
  const { path, network } = machineFolder(root, UID)
  mkdirSync(path, { recursive: true })
  writeFileSync(network, JSON.stringify({ netns: join(root, 'none'), attachments: [], ports: [] }))
  const record = { uid: UID, config: parseConfig({ name: 'holder' }), createdAt: 1, root, cgroupsPath: '/x', workdir: '/' }
  const container = { id: 'holder', labels: { [LABEL.mark]: 'containerd', [LABEL.uid]: UID }, extensions: extensionsOf(record as never) }
  const client = {
    containers: { list: async () => ({ containers: [container] }) },
    tasks: {
      get: async () => {
        if (status === undefined) throw new VMKitError('NOT_FOUND', 'no task')
        return { process: { status } }
      },
    },
  }
  const containerd = async () => client
  host = { driver: 'containerd', options: { stateDir: root }, root, containerd, looking: containerd } as unknown as Host
})
afterEach(() => rmSync(root, { recursive: true, force: true }))

const folder = () => machineFolder(root, UID)
const release = () => releaseIfOver(host, UID, unaborted())

describe('the ports of another machine', () => {
  it('are given back when it is over, or lost its task', async () => {
    for (const now of [TASK_STATUS.stopped, undefined]) {
      status = now
      writeFileSync(folder().network, JSON.stringify({ netns: join(root, 'none'), attachments: [], ports: [] }))
      expect(await release()).toBe(true)
      expect(existsSync(folder().network)).toBe(false)
    }
  })

  it('stay its own while it runs', async () => {
    status = TASK_STATUS.running
    expect(await release()).toBe(false)
  })

  it('stay its own while somebody starts it, who has its networks before its task', async () => {
    status = undefined
    await withLock({ id: 'holder', folder: folder().path }, 'start', unaborted().signal, async () => {
      expect(await release()).toBe(false)
    })
    expect(existsSync(folder().network)).toBe(true)
  })

  it('stay its own when it has started since', async () => {
    status = TASK_STATUS.stopped
    const { tasks } = await host.containerd()
    const get = tasks.get.bind(tasks)
    // Under its lock by now: what was true before does not count.
    Object.assign(tasks, {
      get: async (request: { containerId: string }) => {
        status = TASK_STATUS.running
        return get(request)
      },
    })
    expect(await release()).toBe(false)
    expect(existsSync(folder().network)).toBe(true)
  })
})
