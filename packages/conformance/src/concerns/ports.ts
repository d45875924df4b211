import assert from 'node:assert/strict'
import { connect, createServer, type Server } from 'node:net'
import type { VMKitError } from '@vmkit/core'
import { assertSoon } from '../abort-at.js'
import { rejects } from '../assertions.js'
import { givenTime } from '../given-time.js'
import type { FullVM, Test, Tools } from '../tools.js'

/** Reaching a machine over the network of this host. */
export function ports(test: Test): void {
  const needs = ['ports'] as const

  test('a published port is told, and reached', { needs, limitMs: 60_000 }, async (t) => {
    const { vm, guest } = await serve(t)
    const { host, port } = await vm.endpoint(guest)
    assert.equal(await t.until('an answer of the machine', () => answer(t, host, port)), 'hello\n')
    const [mapping] = (await vm.info()).ports
    assert.ok(mapping)
    assert.deepEqual({ ...mapping, host: 0 }, { guest, host: 0, hostIp: '127.0.0.1', protocol: 'tcp' })
    assert.ok(mapping.host > 0, 'the port that was chosen must be told')
  })

  test('two machines with one guest port: each has a host port of its own, or the second is CONFLICT', {
    needs,
    limitMs: 60_000,
  }, async (t) => {
    const { vm: one, guest } = await serve(t)
    if (sharesNetwork(t)) {
      await conflicting(t, guest, undefined)
    } else {
      const two = await t.start({ does: 'serve', port: guest }, { ports: [{ guest }] })
      assert.notEqual((await one.endpoint(guest)).port, (await two.endpoint(guest)).port)
      await two.waitFor({ port: guest, timeoutMs: t.ms(30_000) })
    }
    await one.waitFor({ port: guest, timeoutMs: t.ms(30_000) })
  })

  test('a taken host port is CONFLICT, and nothing is half made', { needs }, async (t) => {
    const server = await listen()
    t.undo(() => closed(server))
    const { port } = server.address() as { port: number }
    await conflicting(t, sharesNetwork(t) ? port : await freePort(), port)
  })

  test('the host port of another machine is CONFLICT too', { needs, limitMs: 60_000 }, async (t) => {
    const { vm: holder, guest } = await serve(t)
    await conflicting(t, guest, (await holder.endpoint(guest)).port)
    assert.equal((await holder.status()).state, 'running')
  })

  test('a host port of choice is the one, or refused', { needs, limitMs: 60_000 }, async (t) => {
    const [guest, host] = [await freePort(), await freePort()]
    if (sharesNetwork(t)) {
      const error = await rejects(t.create({ does: 'serve', port: guest }, { ports: [{ guest, host }] }), ['UNSUPPORTED', 'INVALID_CONFIG'])
      assert.match(error.field ?? '', /ports/)
      assert.equal((await t.mine()).length, 0)
      return
    }
    const vm = await t.start({ does: 'serve', port: guest }, { ports: [{ guest, host }] })
    assert.equal((await vm.endpoint(guest)).port, host)
  })

  test('a port is free again after stop', { needs, limitMs: 60_000 }, async (t) => {
    const { vm, guest } = await serve(t)
    const { host, port } = await vm.endpoint(guest)
    await vm.stop({ graceMs: t.ms(2000) })
    await t.until('the port to be closed', async () =>
      hello(t, host, port).then(
        (text) => text !== 'hello\n',
        () => true,
      ),
    )
  })

  test('waitFor gives up with the last words of a machine that ends', { needs: ['ports', 'logs'] }, async (t) => {
    const guest = await freePort()
    const vm = await t.start({ does: 'print', stdout: 'no luck\n', code: 3 }, { ports: [{ guest }] })
    // Until it is gone a forwarder may keep a connection that a busy guest has not refused yet, which passes for an open port.
    await t.within(20_000, 'the end', vm.wait())
    const error = await rejects(vm.waitFor({ port: guest, timeoutMs: t.ms(20_000) }), ['GUEST_ERROR', 'NOT_FOUND'])
    if (error.code === 'GUEST_ERROR')
      assert.ok(
        error.evidence?.logTail?.some((line) => line.includes('no luck')),
        'the error must have the last log lines',
      )
  })

  test('a port that nobody published has no endpoint, or an address that this host reaches', {}, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const { addresses } = await vm.info()
    if (addresses.length === 0) await rejects(vm.endpoint(1), 'NOT_FOUND')
    else assert.deepEqual(await vm.endpoint(1), { host: addresses[0], port: 1 })
    await rejects(vm.endpoint(70_000), 'INVALID_CONFIG')
  })

  test('waiting for a port ends in TIMEOUT, not later', {}, async (t) => {
    const vm = await t.start({ does: 'idle' })
    if ((await vm.info()).addresses.length === 0) t.skip('this host has no route to a machine without published ports')
    using sinceCall = givenTime()
    await rejects(vm.waitFor({ port: 1, timeoutMs: 400 }), 'TIMEOUT')
    assertSoon(sinceCall, 'a deadline of 400 ms', 2000)
  })
}

/** A process of this host has this host's ports: what it listens on is what is reached. */
function sharesNetwork(t: Tools): boolean {
  return t.facts.isolation === 'process'
}

/** A machine that answers on a port, which is published. */
async function serve(t: Tools): Promise<{ vm: FullVM; guest: number }> {
  const guest = await freePort()
  const vm = await t.start({ does: 'serve', port: guest }, { ports: [{ guest }] })
  await vm.waitFor({ port: guest, timeoutMs: t.ms(30_000) })
  return { vm, guest }
}

/** At create where the engine knows, else at start; then the machine stays `created`. */
async function conflicting(t: Tools, guest: number, host: number | undefined): Promise<void> {
  const before = (await t.mine()).length
  let vm: FullVM
  try {
    vm = await t.create({ does: 'serve', port: guest }, { ports: [{ guest, host }] })
  } catch (error) {
    namesPort(await rejects(() => Promise.reject(error), 'CONFLICT', 'create'))
    assert.equal((await t.mine()).length, before)
    return
  }
  namesPort(await rejects(vm.start(), 'CONFLICT', 'start'))
  assert.equal((await vm.status()).state, 'created')
  await vm.delete()
}

function namesPort({ field }: VMKitError): void {
  assert.match(field ?? '', /^config\.ports\.0\b/, 'the error must name the port that is taken')
}

/** Free a moment ago, and none of those that systems give to whoever asks for any (Linux from 32768 on): they are soon taken again. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000)
    const server = await listen(port).catch(() => undefined)
    if (!server) continue
    await closed(server)
    return port
  }
}

/**
 * What the machine says there; `undefined` when the connection ended without a byte. A forwarder (docker-proxy, QEMU's user network)
 * takes a connection before anybody in the machine listens, and ends it only when the machine refuses, however late that is: then
 * nobody has answered yet. A refusal is an error: who has waited for the port has seen it open.
 */
async function answer(t: Tools, host: string, port: number): Promise<string | undefined> {
  try {
    return (await hello(t, host, port)) || undefined
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ECONNRESET') return undefined
    throw error
  }
}

function hello(t: Tools, host: string, port: number): Promise<string> {
  return t.within(
    15_000,
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

function listen(port = 0): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => resolve(server))
  })
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()))
}
