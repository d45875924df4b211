import assert from 'node:assert/strict'
import { openSync } from 'node:fs'
import type { Concern, ConformanceOptions } from '@vmkit/conformance'
import { type VMExit, VMKitError } from '@vmkit/core'
import type { DriverImages } from '@vmkit/core/driver'
import { describe, it } from 'vitest'
import { type Break, runKit } from './run-kit.js'

interface Case {
  /** What is wrong with the driver. */
  wrong: string
  /** The test that must fail: `concern: title`. */
  caught: string
  spoil: Break
  options?: Partial<ConformanceOptions>
}

const killed: VMExit = { code: 0, signal: null, oom: null, reason: 'exited', at: 1 }

/** A host that nobody cleans. */
const folders: string[] = []

const CASES: Case[] = [
  { wrong: 'claims pause and has no method', caught: 'manifest: claims fit the methods', spoil: () => ({ pause: undefined }) },
  {
    wrong: 'has a manifest that can be changed',
    caught: 'manifest: the manifest cannot be changed',
    spoil: (driver) => ({ capabilities: { ...driver.capabilities } }),
  },
  {
    wrong: 'says that something is missing, and not why',
    caught: 'manifest: the probe gives a reason for everything it says is missing',
    spoil: (driver) => ({ probe: async (ctx) => ({ ...(await driver.probe(ctx)), missing: { vnc: '' } }) }),
  },
  {
    wrong: 'gives the holder of a name instead of ALREADY_EXISTS',
    caught: 'create: a taken name is ALREADY_EXISTS, and its holder is untouched',
    spoil: (driver) => ({
      create: async (config, ctx) => {
        const [holder] = (await driver.list({}, ctx)).filter(({ name }) => name === config.name)
        return holder ?? driver.create(config, ctx)
      },
    }),
  },
  {
    wrong: 'refuses a taken name without naming the field',
    caught: 'create: a taken name is ALREADY_EXISTS, and its holder is untouched',
    spoil: (driver) => ({
      create: (config, ctx) =>
        driver.create(config, ctx).catch(({ code, message }: VMKitError) => Promise.reject(new VMKitError(code, message))),
    }),
  },
  {
    wrong: 'does not say which port is taken',
    caught: 'ports: a taken host port is CONFLICT, and nothing is half made',
    spoil: (driver) => ({
      start: (id, ctx) => driver.start(id, ctx).catch(({ code, message }: VMKitError) => Promise.reject(new VMKitError(code, message))),
    }),
  },
  {
    wrong: 'loses labels',
    caught: 'create: a new machine is `created`, listed once, and tells its config back',
    spoil: (driver) => ({
      create: (config, ctx) =>
        driver.create({ ...config, labels: Object.fromEntries(Object.entries(config.labels).filter(([key]) => key !== 'purpose')) }, ctx),
    }),
  },
  {
    wrong: 'leaves the machine of an aborted create',
    caught: 'abort: create that is aborted at any moment leaves nothing',
    spoil: (driver) => ({
      async create(config, ctx) {
        const ref = await driver.create(config, { ...ctx, signal: new AbortController().signal })
        await new Promise((resolve) => setTimeout(resolve, 50))
        ctx.signal.throwIfAborted()
        return ref
      },
    }),
  },
  { wrong: 'does not stop', caught: 'lifecycle: start, stop, start again, delete', spoil: () => ({ stop: async () => {} }) },
  {
    wrong: 'kills at once instead of giving the grace',
    caught: 'lifecycle: a machine that ignores the stop signal is killed after its grace',
    spoil: (driver) => ({ stop: (id, _options, ctx) => driver.stop(id, { graceMs: 0 }, ctx) }),
  },
  {
    wrong: 'says that its backend guards delete, and deletes what runs',
    caught: 'lifecycle: delete of a running machine needs force',
    spoil: (driver) => ({ guards: ['delete'], delete: (id, _options, ctx) => driver.delete(id, { force: true }, ctx) }),
  },
  {
    wrong: 'refuses to start what runs',
    caught: 'states: the driver itself is idempotent, without the manager before it',
    spoil: (driver) => ({
      async start(id, ctx) {
        if ((await driver.getStatus(id, ctx)).state === 'running') throw new VMKitError('BACKEND_ERROR', 'It runs already')
        return driver.start(id, ctx)
      },
    }),
  },
  {
    wrong: 'deletes what is not there with success',
    caught: 'identity: every call with the id of a deleted machine is NOT_FOUND',
    spoil: (driver) => ({ delete: (id, options, ctx) => driver.delete(id, options, ctx).catch(() => {}) }),
  },
  {
    wrong: 'lists machines of others',
    caught: 'identity: machines that vmkit did not make are not there',
    spoil: (driver) => ({
      list: async (filter, ctx) => [
        ...(await driver.list(filter, ctx)),
        { id: 'alien', name: 'alien', driver: driver.name, state: 'running', labels: {}, createdAt: 1 },
      ],
    }),
    options: { foreign: async () => ({ id: 'alien', name: 'alien', remove: async () => {} }) },
  },
  { wrong: 'waits for nothing', caught: 'exit: wait does not resolve before the end', spoil: () => ({ wait: async () => killed }) },
  {
    wrong: 'takes an unknown exit code for 0',
    caught: 'exit: SIGKILL is told as what is known of it',
    spoil: (driver) => ({ wait: async (id, ctx) => ({ ...(await driver.wait(id, ctx)), code: (await driver.wait(id, ctx)).code ?? 0 }) }),
  },
  {
    wrong: 'derives a signal from exit code 137',
    caught: 'exit: wait gives the exit code',
    spoil: (driver) => ({
      async wait(id, ctx) {
        const exit = await driver.wait(id, ctx)
        return exit.code === 137 ? { ...exit, signal: 'SIGKILL' } : exit
      },
    }),
  },
  {
    wrong: 'garbles UTF-8',
    caught: 'logs: UTF-8 that comes in pieces is one text',
    spoil: (driver) => ({
      async *logs(id, options, ctx) {
        for await (const entry of driver.logs?.(id, options, ctx) ?? [])
          yield { ...entry, text: Buffer.from(entry.text, 'utf8').toString('latin1') }
      },
    }),
  },
  {
    wrong: 'follows for ever',
    caught: 'logs: follow gives lines as they come, and ends with the machine',
    spoil: (driver) => ({
      async *logs(id, options, ctx) {
        yield* driver.logs?.(id, options, ctx) ?? []
        if (options.follow) await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve, { once: true }))
      },
    }),
  },
  {
    wrong: 'reads the log from the start after a cursor',
    caught: 'logs: a cursor goes on behind its entry',
    spoil: (driver) => ({ logs: (id, { after: _after, ...options }, ctx) => driver.logs?.(id, options, ctx) ?? nothing() }),
  },
  {
    wrong: 'merges stderr into stdout',
    caught: 'exec: gives exit code and output, each stream apart',
    spoil: (driver) => ({
      async execStream(id, request, ctx) {
        const session = await execStream(driver, id, request, ctx)
        return { ...session, output: mapped(session.output) }
        async function* mapped(output: typeof session.output) {
          for await (const { data } of output) yield { source: 'stdout' as const, data }
        }
      },
    }),
  },
  {
    wrong: 'ignores the env of a command',
    caught: 'exec: env, of the machine and of the call',
    spoil: (driver) => ({ execStream: (id, { env: _env, ...request }, ctx) => execStream(driver, id, request, ctx) }),
  },
  {
    wrong: 'lets a command run on after its timeout',
    caught: 'exec: a timeout kills the command and its children',
    spoil: (driver) => ({
      async execStream(id, request, ctx) {
        const session = await execStream(driver, id, request, ctx)
        const iterator = session.output[Symbol.asyncIterator]()
        let letGo: () => void = () => {}
        const gone = new Promise<IteratorResult<never>>((resolve) => {
          letGo = () => resolve({ done: true, value: undefined })
        })
        return {
          ...session,
          output: { [Symbol.asyncIterator]: () => ({ next: () => Promise.race([iterator.next(), gone]) }) },
          kill: async () => letGo(),
          wait: async () => ({ exitCode: null, signal: 'SIGKILL' }),
          [Symbol.asyncDispose]: async () => {},
        }
      },
    }),
  },
  {
    wrong: 'empties a file before its new content is there',
    caught: 'files: a source that fails leaves the old file',
    spoil: (driver) => ({
      files: {
        ...filesOf(driver),
        async write(id, path, content, options, ctx) {
          await filesOf(driver).write(id, path, nothing(), options, ctx)
          await filesOf(driver).write(id, path, content, options, ctx)
        },
      },
    }),
  },
  {
    wrong: 'gives 0 for a figure that it does not know how to read',
    caught: 'metrics: a running machine has figures',
    spoil: (driver) => ({ getMetrics: async (id, ctx) => ({ ...(await driver.getMetrics(id, ctx)), network: undefined as never }) }),
  },
  {
    wrong: 'does not tell of an end',
    caught: 'events: a life is told in order',
    spoil: (driver) => ({
      async *events(ctx) {
        for await (const event of driver.events?.(ctx) ?? []) if (event.type !== 'stopped') yield event
      },
    }),
  },
  { wrong: 'pauses nothing', caught: 'pause: pause and resume, twice each', spoil: () => ({ pause: async () => {} }) },
  { wrong: 'resizes nothing', caught: 'limits: resize while it runs', spoil: () => ({ resize: async () => {} }) },
  {
    wrong: 'renames over the holder of a name',
    caught: 'rename: a taken name is ALREADY_EXISTS, and nothing has changed',
    spoil: (_driver, backend) => ({
      async rename(id, name) {
        const machine = backend.get(id)
        machine.config = { ...machine.config, name }
      },
    }),
  },
  {
    wrong: 'gives a second name instead of another one',
    caught: 'rename: the new name is told everywhere, and the old one is free',
    spoil(driver) {
      const names = new Map<string, string>()
      return {
        rename: async (id, name) => void names.set(name, id),
        find: async (idOrName, ctx) => names.get(idOrName) ?? driver.find?.(idOrName, ctx) ?? idOrName,
        getInfo: async (id, ctx) => {
          const info = await driver.getInfo(id, ctx)
          const name = [...names].find(([, of]) => of === id)?.[0] ?? info.name
          return { ...info, name, config: { ...info.config, name } }
        },
      }
    },
  },
  {
    wrong: 'does not tell of a rename',
    caught: 'rename: it is told once, with both names',
    spoil: (driver) => ({
      async *events(ctx) {
        for await (const event of driver.events?.(ctx) ?? []) if (event.type !== 'renamed') yield event
      },
    }),
  },
  {
    wrong: 'gives out an archive without a name',
    caught: 'images: an image goes out as an archive, and comes in again',
    spoil: ({ images }) => ({
      images: {
        ...(images as DriverImages),
        async *export(reference, ctx) {
          for await (const chunk of images?.export?.(reference, ctx) ?? [])
            yield Buffer.from(Buffer.from(chunk).toString().replace('RepoTags', 'RepoRags'))
        },
      },
    }),
  },
  {
    wrong: 'restores nothing',
    caught: 'snapshot: restore brings the disk back, and the handle follows',
    spoil: (driver) => ({
      async restore(id, _tag, ctx) {
        await driver.stop(id, { graceMs: 0 }, ctx)
        return { id }
      },
    }),
  },
  {
    wrong: 'leaves half a clone when it is aborted',
    caught: 'clone: an aborted clone leaves nothing',
    spoil: (driver) => ({
      async clone(id, request, ctx) {
        const ref = await driver.clone?.(id, request, { ...ctx, signal: new AbortController().signal })
        await new Promise((resolve) => setTimeout(resolve, 50))
        ctx.signal.throwIfAborted()
        return ref as { id: string }
      },
    }),
  },
  {
    wrong: 'opens a file for each reader of logs and never closes it',
    caught: 'streams: logs left early free their handles',
    spoil: (driver) => ({
      async *logs(id, options, ctx) {
        openSync('/dev/null', 'r')
        yield* driver.logs?.(id, options, ctx) ?? []
      },
    }),
  },
  {
    wrong: 'repeats the env in an error',
    caught: 'hostile: secrets do not come back in errors',
    spoil: (driver) => ({
      create: (config, ctx) =>
        driver.create(config, ctx).catch((error: VMKitError) => {
          throw new VMKitError(error.code, `${error.message}: ${JSON.stringify(config)}`)
        }),
    }),
  },
  {
    wrong: 'takes a field and ignores it',
    caught: 'unsupported: the env that is honoured has an effect',
    spoil: (driver) => ({ create: (config, ctx) => driver.create({ ...config, env: {} }, ctx) }),
  },
  {
    wrong: 'calls a stopped machine running after a kill',
    caught: 'walk: any order of operations keeps to the state table',
    spoil: (driver) => ({
      async getStatus(id, ctx) {
        const status = await driver.getStatus(id, ctx)
        return status.exit?.signal === 'SIGKILL' ? { ...status, state: 'running' } : status
      },
    }),
    // Its walk begins with start and kill; one in 7,000 kills nothing that runs.
    options: { seed: 15 },
  },
  {
    wrong: 'lists nothing while its backend is away',
    caught: 'backend-down: every call is BACKEND_UNAVAILABLE at once, and works again afterwards',
    spoil: (driver) => ({ list: (filter, ctx) => driver.list(filter, ctx).catch(() => []) }),
  },
  {
    wrong: 'needs a new object when its backend is back',
    caught: 'backend-down: every call is BACKEND_UNAVAILABLE at once, and works again afterwards',
    spoil(driver) {
      let lost: unknown
      return {
        list: (filter, ctx) =>
          lost === undefined
            ? driver.list(filter, ctx).catch((error: unknown) => {
                lost = error
                throw error
              })
            : Promise.reject(lost),
      }
    },
  },
  {
    wrong: 'leaves on the host what nothing lists',
    caught: 'abort: create that is aborted at any moment leaves nothing',
    spoil: (driver) => ({
      create(config, ctx) {
        folders.push(`folder of ${config.name}`)
        return driver.create(config, ctx)
      },
    }),
    options: { leftovers: async () => [...folders] },
  },
  {
    wrong: 'forgets a timer at close',
    caught: 'close: a script that has only asked ends by itself',
    spoil: () => ({}),
    options: { child: { module: new URL('leaky.mjs', import.meta.url).href, export: 'leaky' } },
  },
]

describe('the kit catches a driver that', () => {
  for (const { wrong, caught, spoil, options } of CASES) {
    it(wrong, async () => {
      const only = [caught.split(': ')[0] as Concern]
      const { failed } = await runKit(spoil, { only, ...options })
      assert.ok(failed.has(caught), `expected "${caught}" to fail; failed: ${JSON.stringify([...failed])}`)
    })
  }
})

async function* nothing(): AsyncGenerator<never> {
  // no lines, no bytes
}

type Driver = Parameters<Break>[0]

function execStream(driver: Driver, ...args: Parameters<NonNullable<Driver['execStream']>>): ReturnType<NonNullable<Driver['execStream']>> {
  return (driver.execStream as NonNullable<Driver['execStream']>)(...args)
}

function filesOf(driver: Driver): NonNullable<Driver['files']> {
  return driver.files as NonNullable<Driver['files']>
}
