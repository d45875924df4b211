import assert from 'node:assert/strict'
import { createServer, connect, type Server } from 'node:net'
import { rejects } from '../assertions.js'
import type { FullVM, Test, Tools } from '../tools.js'

const GUEST_PORT = 18_080

/** Reaching a machine over the network of this host. */
export function ports(test: Test): void {
  const needs = ['ports'] as const
  const published = { ports: [{ guest: GUEST_PORT }] }

  test('a published port is told, and reached', { needs, limitMs: 60_000 }, async (t) => {
    const vm = await t.start({ does: 'serve', port: GUEST_PORT }, published)
    await vm.waitFor({ port: GUEST_PORT, timeoutMs: t.ms(30_000) })
    const { host, port } = await vm.endpoint(GUEST_PORT)
    assert.equal(await hello(t, host, port), 'hello\n')
    const [mapping] = (await vm.info()).ports
    assert.ok(mapping)
    assert.deepEqual({ ...mapping, host: 0 }, { guest: GUEST_PORT, host: 0, hostIp: '127.0.0.1', protocol: 'tcp' })
    assert.ok(mapping.host > 0, 'the port that was chosen must be told')
  })

  test('two machines with the same guest port get different host ports', { needs, limitMs: 60_000 }, async (t) => {
    const machines = [await t.start({ does: 'serve', port: GUEST_PORT }, published), await t.start({ does: 'serve', port: GUEST_PORT }, published)]
    const endpoints = await Promise.all(machines.map((vm) => vm.endpoint(GUEST_PORT)))
    assert.notEqual(endpoints[0]?.port, endpoints[1]?.port)
    for (const vm of machines) await vm.waitFor({ port: GUEST_PORT, timeoutMs: t.ms(30_000) })
  })

  test('a taken host port is CONFLICT, and nothing is half made', { needs }, async (t) => {
    const server = await listen()
    t.undo(() => closed(server))
    const { port } = server.address() as { port: number }
    await conflicting(t, port)
  })

  test('the host port of another machine is CONFLICT too', { needs, limitMs: 60_000 }, async (t) => {
    const holder = await t.start({ does: 'serve', port: GUEST_PORT }, published)
    await conflicting(t, (await holder.endpoint(GUEST_PORT)).port)
    assert.equal((await holder.status()).state, 'running')
  })

  test('a port is free again after stop', { needs, limitMs: 60_000 }, async (t) => {
    const vm = await t.start({ does: 'serve', port: GUEST_PORT }, published)
    await vm.waitFor({ port: GUEST_PORT, timeoutMs: t.ms(30_000) })
    const { host, port } = await vm.endpoint(GUEST_PORT)
    await vm.stop({ graceMs: t.ms(2000) })
    await t.until('the port to be closed', async () =>
      hello(t, host, port).then(
        (text) => text !== 'hello\n',
        () => true,
      ),
    )
  })

  test('waitFor gives up with the last words of a machine that ends', { needs: ['ports', 'logs'] }, async (t) => {
    const vm = await t.start({ does: 'print', stdout: 'no luck\n', code: 3 }, published)
    const error = await rejects(vm.waitFor({ port: GUEST_PORT, timeoutMs: t.ms(20_000) }), ['GUEST_ERROR', 'NOT_FOUND'])
    if (error.code === 'GUEST_ERROR') assert.ok(error.evidence?.logTail?.some((line) => line.includes('no luck')), 'the error must have the last log lines')
  })

  test('a port that nobody published has no endpoint, or an address that this host reaches', {}, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const { addresses } = await vm.info()
    if (addresses.length === 0) await rejects(vm.endpoint(GUEST_PORT), 'NOT_FOUND')
    else assert.deepEqual(await vm.endpoint(GUEST_PORT), { host: addresses[0], port: GUEST_PORT })
    await rejects(vm.endpoint(70_000), 'INVALID_CONFIG')
  })

  test('waiting for a port ends in TIMEOUT, not later', {}, async (t) => {
    const vm = await t.start({ does: 'idle' })
    if ((await vm.info()).addresses.length === 0) t.skip('this host has no route to a machine without published ports')
    const startedAt = performance.now()
    await rejects(vm.waitFor({ port: 1, timeoutMs: 400 }), 'TIMEOUT')
    assert.ok(performance.now() - startedAt < 2000)
  })
}

/** At create where the engine knows, else at start; then the machine stays `created`. */
async function conflicting(t: Tools, host: number): Promise<void> {
  const before = (await t.mine()).length
  let vm: FullVM
  try {
    vm = await t.create({ does: 'serve', port: GUEST_PORT }, { ports: [{ guest: GUEST_PORT, host }] })
  } catch (error) {
    await rejects(() => Promise.reject(error), 'CONFLICT', 'create')
    assert.equal((await t.mine()).length, before)
    return
  }
  await rejects(vm.start(), 'CONFLICT', 'start')
  assert.equal((await vm.status()).state, 'created')
  await vm.delete()
}

function hello(t: Tools, host: string, port: number): Promise<string> {
  return t.within(
    5000,
    'an answer on the port',
    new Promise((resolve, reject) => {
      let text = ''
      const socket = connect({ host, port })
      socket.setEncoding('utf8').on('data', (piece: string) => {
        text += piece
      })
      socket.once('error', reject)
      socket.once('close', () => resolve(text))
    }),
  )
}

function listen(): Promise<Server> {
  return new Promise((resolve) => {
    const server = createServer()
    server.listen(0, '127.0.0.1', () => resolve(server))
  })
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()))
}
