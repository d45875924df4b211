import { execFile, execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { VMConfig } from '@vmkit/core'
import type { Containerd } from '../../../packages/containerd/src/grpc/connection.js'
import { lightEnvironment } from '../child.js'
import { loop, once } from '../loop.js'
import type { Comparison, Omission, Run } from '../suite.js'
import { bareCycle, bareExec, templateOf } from './bare.js'
import { type ContainerdHandle, IMAGE, NAMESPACE } from './engine.js'

const PROGRAM = '/bin/true'
const CYCLE_MOST_MS = 6
const OF_CTR_MOST = 0.8
const EXEC_MOST = 1.1
const LIST_MOST = 1.2
const LISTED = 200
const AT_ONCE = 8
const PAIRS = 60

export interface Bed {
  socketPath: string
  containerd: ContainerdHandle
  /** The calls alone. */
  bare: Containerd
  /** For log files and FIFOs. */
  folder: string
  run: Run
}

/** vmkit on a real daemon, against others that ask the same of it. Logging is on, and nobody has a network. */
export async function* engineRows(bed: Bed): AsyncGenerator<Comparison | Omission> {
  yield* cycleRows(bed)
  yield* execRows(bed)
  yield* listRows(bed)
}

const config = (command: string[]): VMConfig => ({ image: IMAGE, pull: 'never', command })

async function* cycleRows({ socketPath, containerd, bare, folder }: Bed): AsyncGenerator<Comparison> {
  await using like = await containerd.create(config([PROGRAM]))
  const template = await templateOf(bare, like.id.split(':')[0] as string)
  const cycle = async () => {
    const vm = await containerd.create(config([PROGRAM]), { onDispose: 'detach' })
    await vm.start()
    requireSuccess((await vm.wait()).code)
    await vm.delete()
  }
  const shared = {
    what: `create + start + wait + delete of ${PROGRAM}`,
    kind: 'process',
    unit: 'ms',
    rounds: PAIRS,
    ours: once(cycle),
  } as const
  yield {
    ...shared,
    against: 'bare gRPC calls',
    theirs: once(() => bareCycle(bare, template, folder)),
    bar: { on: 'difference', most: CYCLE_MOST_MS },
  }
  const ctr = (...options: string[]) => {
    const id = `ctr-${randomBytes(6).toString('hex')}`
    const run = ['run', '--rm', ...options, '--snapshotter', template.snapshotter, template.image, id, PROGRAM]
    return promisify(execFile)('ctr', ['--address', socketPath, '--namespace', NAMESPACE, ...run], { env: lightEnvironment() })
  }
  const bar = { on: 'ratio', most: OF_CTR_MOST } as const
  yield { ...shared, against: 'ctr run --rm', theirs: once(ctr), bar }
  // ctr filters no system calls unless it is asked to; vmkit does, as Docker does, and runc takes a fifth of the time for it.
  yield { ...shared, against: 'ctr run --rm --seccomp', theirs: once(() => ctr('--seccomp')), bar }
}

async function* execRows({ containerd, bare, folder }: Bed): AsyncGenerator<Comparison> {
  const fifos = [join(folder, 'out'), join(folder, 'err')] as const
  execFileSync('mkfifo', [...fifos])
  await using vm = await containerd.create(config(['/bin/sleep', '1000000']))
  await vm.start()
  const containerId = vm.id.split(':')[0] as string
  yield {
    what: `exec of ${PROGRAM}`,
    against: 'bare gRPC calls',
    kind: 'process',
    rounds: PAIRS,
    unit: 'ms',
    ours: once(async () => requireSuccess((await vm.exec([PROGRAM])).exitCode)),
    theirs: once(() => bareExec(bare, containerId, fifos, [PROGRAM])),
    bar: { on: 'ratio', most: EXEC_MOST },
  }
}

async function* listRows({ containerd, bare, run }: Bed): AsyncGenerator<Comparison> {
  const count = run.quick ? AT_ONCE : LISTED
  const machines: { delete(): Promise<void> }[] = []
  try {
    while (machines.length < count) {
      machines.push(
        ...(await Promise.all(Array.from({ length: AT_ONCE }, () => containerd.create(config([PROGRAM]), { onDispose: 'detach' })))),
      )
    }
    yield {
      what: `list of ${machines.length}`,
      against: 'bare gRPC calls',
      kind: 'process',
      unit: 'ms',
      iterations: 4,
      ours: loop(() => containerd.list()),
      theirs: loop(() => Promise.all([bare.containers.list({}), bare.tasks.list({})])),
      bar: { on: 'ratio', most: LIST_MOST },
    }
  } finally {
    while (machines.length > 0) await Promise.all(machines.splice(0, AT_ONCE).map((vm) => vm.delete()))
  }
}

/** A command that did not run would be the fastest. */
function requireSuccess(code: number | null): void {
  if (code !== 0) throw new Error(`${PROGRAM} ended with ${code}`)
}
