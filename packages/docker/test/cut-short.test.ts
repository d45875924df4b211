/** The engine dies, or the caller gives up, while a machine is being saved: on a dockerd of this test alone. */
import { connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type OwnDaemon, ownDaemon } from './daemon.js'
import { backendEnv, ensureImage, raw } from './engine.js'
import { type DockerManager, idle, managerOf, requireEngine, why } from './support.js'

const isRoot = process.geteuid?.() === 0
const whyNot = why || (isRoot ? '' : ' (not run: dockerd needs root)')
const criu = backendEnv('VMKIT_CRIU_DIR')

describe.skipIf(!requireEngine() || !isRoot)(`saving a machine, cut short${whyNot}`, () => {
  let daemon: OwnDaemon
  let manager: DockerManager
  let before: string[]
  beforeAll(async () => {
    daemon = await ownDaemon({ liveRestore: true, ...(criu === undefined ? {} : { criu }) })
    await ensureImage(daemon.socketPath)
    manager = managerOf({ socketPath: daemon.socketPath })
  }, 60_000)
  afterAll(async () => {
    await manager.close()
    await daemon[Symbol.asyncDispose]()
  }, 60_000)
  beforeEach(async () => {
    before = await images()
  })
  /** Ids of all images, those without a name too. */
  const images = async (): Promise<string[]> => {
    const found = JSON.parse((await raw(daemon.socketPath, 'GET', '/images/json?all=1')).body) as { Id: string }[]
    return found.map(({ Id }) => Id).sort()
  }
  const isPaused = async (id: string): Promise<boolean> =>
    (JSON.parse((await raw(daemon.socketPath, 'GET', `/containers/${id}/json`)).body) as { State: { Paused: boolean } }).State.Paused
  const paused = async (id: string): Promise<void> => {
    while (!(await isPaused(id).catch(() => true))) await sleep(1)
  }
  /** Alone in its network, because this daemon has none. */
  const running = async (through: DockerManager = manager, megabytes = 0) => {
    const vm = await through.driver('docker').create(idle({ networks: ['none'] }))
    await vm.start()
    if (megabytes > 0) await vm.exec(['dd', 'if=/dev/urandom', 'of=/data/big', 'bs=1M', `count=${megabytes}`])
    return vm
  }
  /** A machine that the engine was saving, and had paused for that, when it was killed. It is back. */
  const cutWhilePaused = async () => {
    for (let megabytes = 100; ; megabytes *= 4) {
      const vm = await running(manager, megabytes)
      const outcome = outcomeOf(vm.snapshot('cut'))
      await Promise.race([paused(vm.id), outcome])
      await daemon.kill()
      const told = await outcome
      await daemon.start()
      if (told !== 'done') expect(told).toMatchObject({ code: 'BACKEND_UNAVAILABLE' })
      if (await isPaused(vm.id)) return vm
      // This process had no turn until the engine was done: one with more to save.
      expect(megabytes, 'the engine itself leaves it paused').toBeLessThan(1000)
      await vm.delete({ force: true })
      await expect.poll(images, { timeout: 10_000 }).toEqual(before)
    }
  }
  const outcomeOf = (work: Promise<unknown>): Promise<unknown> =>
    work.then(
      () => 'done',
      (error: unknown) => error,
    )

  it('by kill -9 of the engine in the middle: no image is left, the machine is not left paused, and the tag is free', {
    timeout: 120_000,
  }, async () => {
    const vm = await cutWhilePaused()
    expect(await vm.snapshots()).toEqual([])
    expect((await vm.status()).state).toBe('running')
    expect(await images()).toEqual(before)
    await vm.snapshot('cut')
    expect((await vm.snapshots()).map(({ tag }) => tag)).toEqual(['cut'])
    await vm.delete({ force: true })
    expect(await images()).toEqual(before)
  })

  it.each(['snapshot', 'bundle'])('by the loss of the answer to the commit of a %s: the image that was made is removed', async (what) => {
    await using keeper = await answerKeeper(daemon.socketPath, /^POST \S*\/commit/)
    const cut = managerOf({ socketPath: keeper.socketPath })
    const vm = await running(cut)
    const outcome = outcomeOf(what === 'snapshot' ? vm.snapshot('cut') : drained(vm.exportBundle()))
    await keeper.answered
    expect((await images()).length).toBe(before.length + 1)
    await daemon.kill()
    expect(await outcome).toMatchObject({ code: 'BACKEND_UNAVAILABLE' })
    await daemon.start()
    keeper.letThrough()
    expect(await vm.snapshots()).toEqual([])
    expect((await vm.status()).state).toBe('running')
    expect(await images()).toEqual(before)
    await vm.delete({ force: true })
    await cut.close()
  })

  it.skipIf(criu === undefined)(
    `by the loss of the answer to a checkpoint: it is removed${criu === undefined ? ' (not run: no CRIU)' : ''}`,
    async () => {
      await using keeper = await answerKeeper(daemon.socketPath, /^POST \S*\/checkpoints/)
      const cut = managerOf({ socketPath: keeper.socketPath })
      const vm = await running(cut)
      if (!vm.supports('snapshot.memory')) throw new Error(vm.missing['snapshot.memory'])
      const list = async () => (await raw(daemon.socketPath, 'GET', `/containers/${vm.id}/checkpoints`)).body
      const outcome = outcomeOf(vm.snapshot('cut', { memory: true }))
      await keeper.answered
      expect(await list()).toContain('cut.vmkit-')
      await daemon.kill()
      expect(await outcome).toMatchObject({ code: 'BACKEND_UNAVAILABLE' })
      await daemon.start()
      keeper.letThrough()
      expect(await vm.snapshots()).toEqual([])
      expect(await list()).not.toContain('cut.vmkit-')
      expect((await vm.status()).state).toBe('running')
      await vm.delete({ force: true })
      await cut.close()
    },
  )

  it.each([0, 5, 20, 60, 150])('by an abort after %d ms: nothing is left', async (ms) => {
    const vm = await running(manager, 10)
    const outcome = await outcomeOf(vm.snapshot('late', { signal: AbortSignal.timeout(ms) }))
    if (outcome === 'done') await vm.deleteSnapshot('late')
    else expect(outcome).toMatchObject({ code: 'ABORTED' })
    // The engine does one commit of a machine after the other, so this comes after what was given up.
    await vm.snapshot('next')
    await vm.waitFor({ until: async () => (await vm.snapshots()).map(({ tag }) => tag).join() === 'next' })
    expect((await vm.status()).state).toBe('running')
    await vm.delete({ force: true })
    await expect.poll(images, { timeout: 10_000 }).toEqual(before)
  })
})

async function drained(chunks: AsyncIterable<unknown>): Promise<void> {
  for await (const _chunk of chunks);
}

/** A socket before the engine's: of a request whose head matches, the answer arrives here and goes no further. */
async function answerKeeper(target: string, head: RegExp) {
  let answer = (): void => {}
  const answered = new Promise<void>((resolve) => {
    answer = resolve
  })
  let isKeeping = true
  const path = `${target}.keeper`
  const clients = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, (client) => {
    clients.add(client)
    const engine = connect({ path: target, allowHalfOpen: true })
    let isKept = false
    client.on('data', (chunk: Buffer) => {
      isKept ||= isKeeping && head.test(chunk.toString('latin1'))
      engine.write(chunk)
    })
    engine.on('data', (chunk: Buffer) => (isKept ? answer() : void client.write(chunk)))
    for (const gone of ['end', 'error', 'close']) engine.on(gone, () => client.destroy())
    client.on('error', () => engine.destroy()).on('close', () => engine.destroy())
    client.on('end', () => engine.end())
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  return {
    socketPath: path,
    answered,
    letThrough: () => {
      isKeeping = false
    },
    async [Symbol.asyncDispose]() {
      for (const client of clients) client.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
