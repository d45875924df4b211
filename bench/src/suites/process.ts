import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import '@vmkit/process'
import { createManager, type VMConfig } from '@vmkit/core'
import { driverCosts } from '../driver-costs.js'
import { once } from '../loop.js'
import type { Comparison, Suite } from '../suite.js'

const ADDS_MOST_MS = 7
// Six folders to make and remove, in as many hierarchies, where version 2 has one.
const ADDS_MOST_WITH_CGROUP_V1_MS = 22

const COMMAND = ['true']

/** What the process driver adds to running a command, from create to delete, through the manager as apps do it. */
export const suite: Suite = {
  async unavailable() {
    const manager = createManager()
    const { available, reason = 'the probe gives no reason' } = await manager.lookup('process').probe()
    await manager.close()
    return available ? undefined : reason
  },

  async *comparisons() {
    const stateDir = await mkdtemp(join(tmpdir(), 'vmkit-bench-'))
    const manager = createManager({ drivers: { process: { stateDir } } })
    const handle = manager.lookup('process')
    try {
      yield* driverCosts({ name: 'process', options: { stateDir }, config: { command: COMMAND } })

      const run = (what: string, config: Partial<VMConfig>, most: number): Comparison => ({
        what,
        against: 'child_process.spawn',
        kind: 'process',
        unit: 'ms',
        ours: once(async () => {
          const vm = await handle.create({ command: COMMAND, ...config })
          await vm.start()
          await vm.wait()
          await vm.delete()
        }),
        theirs: once(bare),
        bar: { on: 'difference', most },
      })
      yield run('create + start + wait + delete', {}, ADDS_MOST_MS)

      const limited = 'the same with limits on memory and pids'
      await handle.probe()
      const missing = handle.missing['limits.memory'] ?? handle.missing['limits.pids']
      if (missing !== undefined) yield { what: limited, omitted: missing }
      else yield run(limited, { memory: '256MiB', pids: 64 }, isCgroupV2() ? ADDS_MOST_MS : ADDS_MOST_WITH_CGROUP_V1_MS)
    } finally {
      await manager.close()
      await rm(stateDir, { recursive: true, force: true })
    }
  },
}

function bare(): Promise<void> {
  return new Promise((resolve, reject) => {
    const [program = '', ...args] = COMMAND
    spawn(program, args, { stdio: 'ignore' })
      .once('error', reject)
      .once('exit', () => resolve())
  })
}

/** The file that only the root of a version 2 hierarchy has (cgroups(7)). */
function isCgroupV2(): boolean {
  return existsSync('/sys/fs/cgroup/cgroup.controllers')
}
