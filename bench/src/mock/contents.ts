import type { VM } from '@vmkit/core'
import type { CallContext, ExecSession } from '@vmkit/core/driver'
import type { Bed, Operation } from './bed.js'

const FILE = '/data/file'
const TRUE = ['true']

/** What is done inside a machine: commands, logs, files, devices, terminals. */
export function contents({ driver, vm, over }: Bed): Operation[] {
  const { id } = vm
  const bytes = new Uint8Array(1024)
  let session: ExecSession
  const write = (ctx: CallContext): Promise<void> => driver.files.write(id, FILE, one(bytes), {}, ctx)
  const attach = (ctx: CallContext): Promise<string> => driver.attachDevice(id, DEVICE, ctx)

  return [
    {
      name: 'exec',
      ours: () => vm.exec(TRUE),
      async theirs(ctx) {
        const bare = await driver.execStream(id, { command: TRUE }, ctx)
        const chunks: Uint8Array[] = []
        for await (const { data } of bare.output) chunks.push(data)
        await bare.wait()
        return Buffer.concat(chunks).toString()
      },
    },
    {
      name: 'execStream',
      ours: async () => {
        session = await vm.execStream(TRUE)
      },
      theirs: async (ctx) => {
        session = await driver.execStream(id, { command: TRUE }, ctx)
      },
      after: () => session.wait(),
    },
    { name: 'logs, 10 lines', ours: () => drain(over.logs()), theirs: (ctx) => drain(driver.logs(over.id, {}, ctx)) },
    { name: 'attach', ours: async () => (await vm.attach()).close(), theirs: async (ctx) => (await driver.attach(id, ctx)).close() },
    { name: 'files.read', ours: () => vm.files.read(FILE), theirs: (ctx) => drain(driver.files.read(id, FILE, ctx)) },
    { name: 'files.write', ours: () => vm.files.write(FILE, bytes), theirs: write },
    { name: 'files.list', ours: () => vm.files.list('/data'), theirs: (ctx) => driver.files.list(id, '/data', ctx) },
    { name: 'files.remove', ours: () => vm.files.remove(FILE), theirs: (ctx) => driver.files.remove(id, FILE, ctx), after: write },
    {
      name: 'attachDevice',
      ours: () => vm.attachDevice(DEVICE),
      theirs: attach,
      after: (ctx) => driver.detachDevice(id, DEVICE.id, ctx),
    },
    {
      name: 'detachDevice',
      before: attach,
      ours: () => vm.detachDevice(DEVICE.id),
      theirs: (ctx) => driver.detachDevice(id, DEVICE.id, ctx),
    },
  ]
}

/** Saved states of a machine, and what it makes of them. */
export function snapshots({ driver, vm }: Bed): Operation[] {
  const { id } = vm
  const take = (ctx: CallContext) => driver.snapshot(id, 'taken', { memory: false }, ctx)
  let clone: VM | undefined
  let cloneId = ''
  return [
    { name: 'snapshot', ours: () => vm.snapshot('taken'), theirs: take, after: (ctx) => driver.deleteSnapshot(id, 'taken', ctx) },
    { name: 'snapshots', ours: () => vm.snapshots(), theirs: (ctx) => driver.listSnapshots(id, ctx) },
    {
      name: 'deleteSnapshot',
      before: take,
      ours: () => vm.deleteSnapshot('taken'),
      theirs: (ctx) => driver.deleteSnapshot(id, 'taken', ctx),
    },
    {
      name: 'clone',
      ours: async () => {
        clone = await vm.clone('base', { name: 'twin' })
      },
      theirs: async (ctx) => {
        cloneId = (await driver.clone(id, { tag: 'base', name: 'twin', labels: {} }, ctx)).id
      },
      after: async (ctx) => {
        if (clone) await clone.delete()
        else await driver.delete(cloneId, { force: false }, ctx)
        clone = undefined
      },
    },
    {
      name: 'restore',
      ours: () => vm.restore('base'),
      theirs: (ctx) => driver.restore(id, 'base', ctx),
      after: (ctx) => driver.start(id, ctx),
    },
  ]
}

const DEVICE = { type: 'cdi', id: 'card', name: 'example.com/card=0' } as const

async function* one(chunk: Uint8Array): AsyncGenerator<Uint8Array> {
  yield chunk
}

async function drain(stream: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of stream);
}
