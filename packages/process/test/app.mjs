// A second app on the same state folder. It says what it does, a line each, and does what it is told to.
import { processDriver } from '../dist/driver.js'

const [options, action, ...names] = process.argv.slice(2)
const driver = processDriver(JSON.parse(options))
const ctx = { signal: new AbortController().signal, deadline: undefined, report: () => {} }
const base = {
  env: {},
  tty: false,
  stdin: false,
  mounts: [],
  volumes: [],
  ports: [],
  networks: [],
  devices: [],
  labels: {},
  stop: { signal: 'SIGTERM', graceMs: 1000 },
  pull: 'missing',
  files: [],
  driverOptions: {},
}
const tell = (value) => process.stdout.write(`${JSON.stringify(value)}\n`)

const actions = {
  /** Creates and starts machines for ever, until it is killed. */
  async churn() {
    for (let i = 0; ; i += 1) {
      const { id } = await driver.create(
        { ...base, name: `churn-${process.pid}-${i}`, labels: { i: String(i) }, command: ['sleep', '1000'] },
        ctx,
      )
      await driver.start(id, ctx)
      tell(id)
      if (i % 2) await driver.delete(id, { force: true }, ctx)
    }
  },
  /** Tries to create one machine of this name. */
  async create() {
    tell(
      await driver.create({ ...base, name: names[0], command: ['sleep', '1000'] }, ctx).then(
        () => 'created',
        ({ code }) => code,
      ),
    )
  },
  /** Starts, stops and starts a machine, many times. */
  async cycle() {
    for (let i = 0; i < 8; i += 1) {
      await driver.start(names[0], ctx).catch(tell)
      await driver.stop(names[0], { graceMs: 500 }, ctx).catch(tell)
    }
    tell('done')
  },
  async delete() {
    tell(
      await driver.delete(names[0], { force: true }, ctx).then(
        () => 'deleted',
        ({ code }) => code,
      ),
    )
  },
  /** Starts a machine and goes away by SIGKILL. */
  async orphan() {
    const { id } = await driver.create({ ...base, name: names[0], command: ['sh', '-c', names[1]] }, ctx)
    await driver.start(id, ctx)
    tell(id)
    process.kill(process.pid, 'SIGKILL')
  },
  async look() {
    tell(await driver.probe(ctx))
  },
  /** All that an account without rights can do. */
  async tour() {
    const probe = await driver.probe(ctx)
    const { id } = await driver.create({ ...base, name: 'tour', command: ['sh', '-c', 'id -u; echo err >&2; sleep 1000 & wait'] }, ctx)
    await driver.start(id, ctx)
    const session = await driver.execStream(id, { command: ['sh', '-c', 'echo exec; exit 3'] }, ctx)
    let text = ''
    for await (const { data } of session.output) text += Buffer.from(data)
    const exec = await session.wait()
    await driver.files.write(
      id,
      'a/b',
      (async function* () {
        yield Buffer.from('content')
      })(),
      {},
      ctx,
    )
    await driver.pause(id, ctx)
    const paused = (await driver.getStatus(id, ctx)).state
    await driver.resume(id, ctx)
    const refused = await driver
      .create({ ...base, name: 'other', command: ['true'], user: 'root' }, ctx)
      .catch(({ code, field }) => ({ code, field }))
    const logs = []
    // It may be slow to begin, so it is not stopped before it has said both.
    for await (const entry of driver.logs(id, { follow: true }, ctx)) if (logs.push([entry.source, entry.text]) === 2) break
    await driver.stop(id, { graceMs: 2000 }, ctx)
    const { exit } = await driver.getStatus(id, ctx)
    await driver.delete(id, { force: false }, ctx)
    tell({ probe, text, exec, paused, refused, logs, exit, left: await driver.list({}, ctx) })
  },
}
await actions[action]()
