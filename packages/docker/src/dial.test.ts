import { mkdtemp, rm } from 'node:fs/promises'
import { type Agent, createServer } from 'node:http'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { connect, type Engine } from './engine.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vmkit-docker-dial-'))
})
afterEach(() => rm(folder, { recursive: true }))

it('a connection is kept for the next request, and given up before the engine does', async () => {
  const sockets = new Set<Socket>()
  let first: Socket | undefined
  let whileInUse: number | undefined
  const server = createServer((_request, answer) => {
    whileInUse = first?.timeout
    answer.end('{"ApiVersion":"1.41"}')
  })
  server.on('connection', (socket) => sockets.add(socket))
  const socketPath = join(folder, 'engine.sock')
  await new Promise<void>((resolve) => server.listen(socketPath, resolve))
  const agents = new Set<Agent>()
  try {
    const engine: Engine = await connect({ target: `unix://${socketPath}`, source: 'test' }, agents, 10_000)
    const [agent] = agents as Set<Agent & { sockets: object }>
    const kept = () => Object.values(agent?.freeSockets ?? {}).flat() as Socket[]
    await vi.waitFor(() => expect(kept()).toHaveLength(1))
    first = kept()[0]
    expect(first?.timeout).toBeGreaterThan(1000)
    expect(first?.timeout).toBeLessThan(300_000)
    await engine.json({ method: 'GET', path: '/info' })
    expect(whileInUse, 'an answer may take as long as it does').toBe(0)
    await vi.waitFor(() => expect(kept()).toEqual([first]))
    expect(sockets.size).toBe(1)
    // What Node does when the time is over.
    first?.emit('timeout')
    await vi.waitFor(() => expect(kept()).toEqual([]))
    await engine.json({ method: 'GET', path: '/info' })
    expect(sockets.size).toBe(2)
  } finally {
    for (const agent of agents) agent.destroy()
    await new Promise((resolve) => server.close(resolve))
  }
})
