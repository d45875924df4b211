/** The engine goes away in the middle of calls and comes back, with live-restore and without: on a dockerd of this test alone. */
import { connect, createServer, type Socket } from 'node:net'
import { VMKitError } from '@vmkit/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type OwnDaemon, ownDaemon } from './daemon.js'
import { backendEnv, ensureImage, importUnique, pushImage, raw } from './engine.js'
import { deferred, slowPort } from './slow-port.js'
import { type DockerManager, idle, managerOf, requireEngine, socketPath, why } from './support.js'

const isRoot = process.geteuid?.() === 0
const whyNot = why || (isRoot ? '' : ' (not run: dockerd needs root)')

describe.skipIf(!requireEngine() || !isRoot).each([true, false])(`a restart of the engine, live-restore %s${whyNot}`, (liveRestore) => {
  let daemon: OwnDaemon
  let manager: DockerManager
  beforeAll(async () => {
    daemon = await ownDaemon({ liveRestore })
    await ensureImage(daemon.socketPath)
    manager = managerOf({ socketPath: daemon.socketPath })
  }, 60_000)
  afterAll(async () => {
    await manager.close()
    await daemon[Symbol.asyncDispose]()
  }, 60_000)
  const handle = () => manager.driver('docker')
  const machine = (changes: Parameters<typeof idle>[0] = {}) => idle({ networks: ['none'], ...changes })
  const outage = async (work: () => Promise<void> = async () => {}): Promise<void> => {
    await daemon.stop()
    await work()
    await daemon.start()
  }

  it('in the middle of logs and of a command: typed errors, no line lost or twice, and the same driver goes on', async () => {
    const vm = await handle().create(
      machine({ command: ['sh', '-c', 'i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.02; done'], stop: { graceMs: 500 } }),
    )
    await vm.start()
    const numbers: number[] = []
    let cursor: string | undefined
    const following = (async () => {
      for await (const { text, cursor: at } of vm.logs({ follow: true })) {
        numbers.push(Number(text.slice('tick '.length)))
        cursor = at
      }
    })()
    const session = await vm.execStream(['sleep', '1000'])
    const command = session.wait()
    const outcomes = Promise.allSettled([following, command])
    await vm.waitFor({ until: async () => numbers.length > 10 })
    await outage(async () => {
      const [ofLogs, ofCommand] = await outcomes
      // An engine that ends its containers first may live long enough to tell of it.
      const isTold = { logs: !liveRestore && ofLogs.status === 'fulfilled', command: !liveRestore && ofCommand.status === 'fulfilled' }
      const unavailable = { status: 'rejected', reason: { code: 'BACKEND_UNAVAILABLE' } }
      if (!isTold.logs) expect(ofLogs).toMatchObject(unavailable)
      expect(ofCommand).toMatchObject(isTold.command ? { value: { exitCode: 137 } } : unavailable)
      await expect(vm.status()).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' })
      await expect(handle().list()).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' })
    })
    expect((await vm.status()).state).toBe(liveRestore ? 'running' : 'stopped')
    if (liveRestore) expect((await vm.exec(['echo', 'still'])).stdout).toBe('still\n')
    const seen = numbers.length
    await vm.stop({ graceMs: 0 })
    for await (const { text } of vm.logs({ follow: true, after: cursor as string })) numbers.push(Number(text.slice('tick '.length)))
    expect(numbers.length).toBeGreaterThan(liveRestore ? seen : 10)
    expect(numbers).toEqual(numbers.map((_, index) => index + 1))
    await vm.delete()
  })

  it('in the middle of a create with files: nothing is left, and its name is free', async () => {
    const volumes = [{ name: 'vmkit-test-cut', target: '/v' }]
    await using relay = await stopper(daemon.socketPath, /PUT .*\/archive/)
    const cut = managerOf({ socketPath: relay.socketPath })
    const name = 'vmkit-test-cut'
    const creating = cut.driver('docker').create(machine({ name, volumes, files: [{ path: '/data/big', content: 'x' }] }))
    const outcome = creating.then(
      () => undefined,
      (error: unknown) => error,
    )
    await relay.reached
    await daemon.stop()
    relay.release()
    const error = await outcome
    expect(error).toBeInstanceOf(VMKitError)
    expect(error).toMatchObject({ code: 'BACKEND_UNAVAILABLE' })
    await daemon.start()
    expect(await cut.driver('docker').list({ name })).toEqual([])
    expect((await raw(daemon.socketPath, 'GET', '/containers/json?all=1')).body).not.toContain(name)
    expect((await cut.driver('docker').volumes.list()).map((volume) => volume.name)).not.toContain('vmkit-test-cut')
    const again = await cut.driver('docker').create(machine({ name }))
    await again.delete()
    await cut.close()
  })

  const registry = backendEnv('VMKIT_REGISTRY')
  it.skipIf(registry === undefined)(`in the middle of a pull${registry === undefined ? ' (not run: no registry)' : ''}`, async () => {
    const unique = `vmkit-test/restart-${liveRestore}:1`
    await importUnique(socketPath as string, unique)
    await pushImage(socketPath as string, unique, `${registry}/${unique}`)
    await raw(socketPath as string, 'DELETE', `/images/${unique}`)
    await using slow = await slowPort(registry as string)
    const reference = `127.0.0.1:${slow.port}/${unique}`
    const outcome = handle()
      .images.pull(reference, { onProgress: ({ phase, current }) => void (phase === 'download' && (current ?? 0) > 0 && slow.seen()) })
      .then(
        () => undefined,
        (error: unknown) => error,
      )
    await Promise.race([slow.reached, outcome.then((early) => expect.fail(`the pull ended early: ${early}`))])
    await outage(async () => {
      expect(await outcome).toMatchObject({ code: 'BACKEND_UNAVAILABLE' })
    })
    slow.hurry()
    expect((await handle().images.list()).map((image) => image.reference)).not.toContain(reference)
    await handle().images.pull(reference)
    await handle().images.remove(reference)
  })
})

/** A socket before the engine's that holds back the first request whose head matches, until it is released. */
async function stopper(target: string, head: RegExp) {
  const { promise: reached, resolve: reach } = deferred()
  const { promise: released, resolve: release } = deferred()
  const path = `${target}.relay`
  const clients = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, (client) => {
    clients.add(client)
    const engine = connect({ path: target, allowHalfOpen: true })
    engine.pipe(client)
    engine.on('error', () => client.destroy()).on('close', () => client.destroy())
    client.on('error', () => engine.destroy()).on('close', () => engine.destroy())
    client.on('data', async (chunk: Buffer) => {
      if (head.test(chunk.toString('latin1'))) {
        reach()
        await released
      }
      engine.write(chunk)
    })
    client.on('end', () => engine.end())
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  return {
    socketPath: path,
    reached,
    release,
    async [Symbol.asyncDispose]() {
      release()
      for (const client of clients) client.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
