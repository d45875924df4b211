/** Two daemons, between which machines move. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createManager, type VMConfig } from '@vmkit/core'
import { afterAll, beforeAll, describe, expect } from 'vitest'
import { type ContainerdOptions, containerd } from '../src/driver.js'
import { connect, ensureTestImage, IMAGE, requireEngine, sockets, why } from './engine.js'

const managerOf = (options: ContainerdOptions) => createManager({ drivers: { containerd: containerd(options) } })
type Manager = ReturnType<typeof managerOf>
const createOn = (manager: Manager, config: VMConfig) => manager.create(config, { driver: 'containerd' })
export type Machine = Awaited<ReturnType<typeof createOn>>

export interface Pair {
  here: Manager
  there: Manager
  /** Goes with the tests. */
  folder: string
  options: Record<'here' | 'there', ContainerdOptions & { socketPath: string; namespace: string; stateDir: string }>
  create(command: string[], changes?: VMConfig): Promise<Machine>
}

const versions = Object.entries(sockets)

/** Each version to the next: three daemons in a ring, or some of them. What is left in a namespace at the end is an error. */
export function forEachPair(title: string, tests: (pair: Pair) => void, from: readonly string[] = Object.keys(sockets)): void {
  for (const [index, [version, socket]] of versions.entries()) {
    if (!from.includes(version)) continue
    const target = versions[(index + 1) % versions.length]?.[1]
    const runs = requireEngine(socket) && requireEngine(target)
    describe.skipIf(!runs)(`${title} on containerd ${version}${why(socket)}`, () => {
      const pair = {} as Pair

      beforeAll(async () => {
        const folder = await mkdtemp(join(tmpdir(), 'vmkit-containerd-test-'))
        const optionsOf = (name: string, socketPath: string) => ({
          socketPath,
          namespace: `vmkit-${name}-${process.pid}-${index}`,
          stateDir: join(folder, name),
        })
        const options = { here: optionsOf('here', socket as string), there: optionsOf('there', target as string) }
        const here = managerOf(options.here)
        const create: Pair['create'] = (command, changes = {}) =>
          createOn(here, { image: IMAGE, pull: 'never', command, stop: { graceMs: 500 }, ...changes })
        Object.assign(pair, { folder, options, here, there: managerOf(options.there), create })
        await pair.here.driver('containerd').probe()
        await pair.there.driver('containerd').probe()
        await ensureTestImage(options.here.socketPath, options.here.namespace)
      })

      afterAll(async () => {
        await pair.here.close()
        await pair.there.close()
        for (const { socketPath, namespace } of Object.values(pair.options)) {
          const link = connect(socketPath, namespace)
          const client = await link.get()
          expect((await client.leases.list({})).leases).toEqual([])
          const { images } = await client.images.list({})
          expect(images.map(({ name }) => name).filter((name) => name.startsWith('vmkit.local/'))).toEqual([])
          for (const { name } of images) await client.images.delete({ name, sync: true })
          // What is left in a namespace keeps it from being deleted.
          await client.namespaces.delete({ name: namespace })
          link.close()
        }
        await rm(pair.folder, { recursive: true, force: true })
      })

      tests(pair)
    })
  }
}
