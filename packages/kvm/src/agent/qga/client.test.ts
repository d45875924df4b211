import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { connectAgent } from './client.js'

it('an agent that answers later than it is asked again is waited for', async () => {
  const work = mkdtempSync(join(tmpdir(), 'vmkit-kvm-qga-'))
  const path = join(work, 'agent.sock')
  const slow = createServer((socket) => {
    socket.on('data', (data) => {
      // Two questions come as one where this process was late.
      for (const line of data.toString('latin1').replaceAll('\u00ff', '').trim().split('\n')) {
        const answer = `${JSON.stringify({ return: (JSON.parse(line) as { arguments: { id: number } }).arguments.id })}\n`
        setTimeout(() => socket.write(answer), 1500)
      }
    })
    socket.on('error', () => {})
  })
  await new Promise<void>((resolve) => slow.listen(path, resolve))
  try {
    const agent = await connectAgent(path, AbortSignal.timeout(50_000))
    agent.close()
    expect(agent).toBeDefined()
  } finally {
    slow.close()
    rmSync(work, { recursive: true })
  }
})
