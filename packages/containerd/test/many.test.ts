import { describe, expect, it } from 'vitest'
import { config, on, setting, uidOf } from './setting.js'
import { tracesByKind } from './traces.js'

const { socketPath, namespace, stateDir, runs, why, managerOf, prepare } = setting('many')

const MACHINES = 200
const AT_A_TIME = 16
/** So many of them publish a port, which brings a network namespace, an address and rules. */
const NETWORKED = 20

describe.skipIf(!runs)(`many machines on containerd 1.6${why}`, () => {
  prepare()

  it('two hundred, sixteen at a time, leave nothing', { timeout: 240_000 }, async () => {
    const manager = managerOf()
    const uids: string[] = []
    const counted = async () => {
      const found = await tracesByKind({ socketPath, namespace, stateDir, uids })
      return Object.fromEntries(Object.entries(found).map(([kind, names]) => [kind, names.length]))
    }
    const create = async (name: string, script: string, isNetworked: boolean) => {
      const command = ['sh', '-c', script]
      const vm = await manager.create(config({ name, command, ...(isNetworked ? { ports: [{ guest: 80 }] } : {}) }), on)
      uids.push(uidOf(vm))
      await vm.start()
      return vm
    }
    const queue = Array.from({ length: MACHINES - 1 }, (_, index) => index)
    const codes: (number | null)[] = []
    const worker = async (): Promise<void> => {
      for (let index = queue.pop(); index !== undefined; index = queue.pop()) {
        await using vm = await create(`many-${index}`, 'echo out; exit 7', index % (MACHINES / NETWORKED) === 0)
        codes.push((await vm.wait()).code)
      }
    }

    // One that runs shows that the count below could find each kind. A lease is held for the moment of a pull or a snapshot only.
    const witness = await create('witness', 'echo out; sleep 1000', true)
    expect((await witness.exec(['echo', 'in'])).stdout).toBe('in\n')
    const { lease, ...present } = await counted()
    for (const [kind, count] of Object.entries(present)) expect(count, kind).toBeGreaterThan(0)
    expect(lease).toBe(0)

    await Promise.all(Array.from({ length: AT_A_TIME }, worker))
    await witness.delete({ force: true })
    // The FIFOs of commands are kept for the next ones until then.
    await manager.close()

    expect(codes).toEqual(Array.from({ length: MACHINES - 1 }, () => 7))
    expect(uids).toHaveLength(MACHINES)
    expect(await counted()).toEqual(Object.fromEntries(Object.keys({ ...present, lease }).map((kind) => [kind, 0])))
  })
})
