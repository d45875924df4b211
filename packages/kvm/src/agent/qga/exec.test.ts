import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ownIdentity } from '@vmkit/core/state-folder'
import { afterAll, expect, it } from 'vitest'
import { machineFolder } from '../../state/machine-folder.js'
import { writeRun } from '../../state/run.js'
import type { Machine } from '../../state/store.js'
import { agentExec } from './exec.js'

const work = mkdtempSync(join(tmpdir(), 'vmkit-kvm-qga-'))
afterAll(() => rmSync(work, { recursive: true }))

/** A machine that runs, as its files tell, and an agent that ends every command at once with these facts. */
async function standIn(status: object): Promise<{ machine: Machine; close(): void }> {
  const folder = machineFolder(work, '000000000001')
  mkdirSync(folder.path, { recursive: true })
  const [launcher, startedAt] = [ownIdentity(), Date.now()]
  writeRun(folder, { number: 1, launcher, qemu: launcher, ready: true, startedAt, accel: 'tcg', ports: [], before: { state: 'created' } })
  const server = createServer((socket) => {
    socket.on('data', (data) => {
      for (const line of data.toString('latin1').replaceAll('\u00ff', '').trim().split('\n')) {
        const { execute, arguments: given } = JSON.parse(line) as { execute: string; arguments: { id?: number } }
        const answer = execute === 'guest-exec' ? { pid: 7 } : execute === 'guest-exec-status' ? { exited: true, ...status } : given.id
        socket.write(`${JSON.stringify({ return: answer })}\n`)
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(folder.agent, resolve))
  const boot: Machine['boot'] = { kind: 'disk', disks: [], channels: [], agent: 'unknown', reportsExit: false }
  const machine = { id: folder.id, name: 'x', createdAt: 0, uuid: '', macs: [], config: {} as Machine['config'], boot, folder }
  return { machine, close: () => server.close() }
}

it('output that the agent cut off does not pass for the whole', async () => {
  const outData = Buffer.from('first').toString('base64')
  for (const cut of [{ 'out-truncated': true }, { 'err-truncated': true }, {}]) {
    const { machine, close } = await standIn({ exitcode: 0, 'out-data': outData, ...cut })
    try {
      const session = await agentExec(machine, { command: ['x'], env: {}, stdin: false }, new AbortController().signal)
      const reading = (async () => {
        let text = ''
        for await (const { data } of session.output) text += Buffer.from(data).toString()
        return text
      })()
      if (Object.keys(cut).length === 0) expect(await reading).toBe('first')
      else await expect(reading).rejects.toMatchObject({ code: 'GUEST_ERROR', vmId: machine.id, hint: expect.stringContaining('files') })
      expect(await session.wait()).toEqual({ exitCode: 0, signal: null })
    } finally {
      close()
    }
  }
})
