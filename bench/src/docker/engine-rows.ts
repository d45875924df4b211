import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'
import type { VMConfig } from '@vmkit/core'
import { lightEnvironment } from '../child.js'
import { loop, once } from '../loop.js'
import type { Comparison, Omission, Run } from '../suite.js'
import { bareCycle, cycle, dockerodeAt, PROGRAM } from './cycles.js'
import type { DockerHandle } from './engine.js'
import { type RawApi, rawApi, rawCycle, rawExec } from './raw-api.js'

const CYCLE_MOST = 1.03
const CYCLE_PAIRS = 100
const OF_CLI_MOST = 0.95
const EXEC_MOST = 1.1
const EXEC_PAIRS = 60
const LIST_MOST = 1.2
const LISTED = 200
const AT_ONCE = 8

export interface Bed {
  socketPath: string
  docker: DockerHandle
  /** Has `/bin/true` and `/bin/sleep`. */
  image: string
  run: Run
}

/** vmkit on a real engine, against others that ask the same of it. */
export async function* engineRows(bed: Bed): AsyncGenerator<Comparison | Omission> {
  const api = rawApi(bed.socketPath)
  try {
    yield* cycleRows(bed, api)
    yield* execRows(bed, api)
    yield* listRows(bed, api)
  } finally {
    api.close()
  }
}

async function* cycleRows({ socketPath, docker, image }: Bed, api: RawApi): AsyncGenerator<Comparison | Omission> {
  const bare = dockerodeAt(socketPath)
  const shared = {
    what: `create + start + wait + delete of ${PROGRAM}`,
    kind: 'process',
    unit: 'ms',
    ours: once(() => cycle(docker, image)),
  } as const
  yield {
    ...shared,
    against: 'raw API',
    rounds: CYCLE_PAIRS,
    theirs: once(() => rawCycle(api, { Image: image, Entrypoint: [PROGRAM] })),
    bar: { on: 'ratio', most: CYCLE_MOST },
  }
  yield { ...shared, against: 'bare dockerode', rounds: CYCLE_PAIRS / 2, theirs: once(() => bareCycle(bare, image)) }

  const env = { ...lightEnvironment(), DOCKER_HOST: `unix://${socketPath}` }
  const { error } = spawnSync('docker', ['--version'], { env })
  const cli = () => promisify(execFile)('docker', ['run', '--rm', image, PROGRAM], { env })
  if (error) yield { what: `${shared.what} against docker run --rm`, omitted: `no docker CLI: ${error.message}` }
  else yield { ...shared, against: 'docker run --rm', theirs: once(cli), bar: { on: 'ratio', most: OF_CLI_MOST } }
}

async function* execRows({ docker, image }: Bed, api: RawApi): AsyncGenerator<Comparison> {
  await using vm = await docker.create(sleeper(image))
  await vm.start()
  yield {
    what: `exec of ${PROGRAM}`,
    against: 'raw API',
    kind: 'process',
    rounds: EXEC_PAIRS,
    unit: 'ms',
    ours: once(async () => requireSuccess((await vm.exec([PROGRAM])).exitCode)),
    theirs: once(async () => requireSuccess((await rawExec(api, vm.id, [PROGRAM])).code)),
    bar: { on: 'ratio', most: EXEC_MOST },
  }
}

async function* listRows({ docker, image, run }: Bed, api: RawApi): AsyncGenerator<Comparison> {
  const count = run.quick ? AT_ONCE : LISTED
  const machines: { delete(): Promise<void> }[] = []
  // The same ones, whatever else runs on this engine.
  const filters = encodeURIComponent(JSON.stringify({ label: ['vmkit.machine=docker'] }))
  try {
    while (machines.length < count) {
      machines.push(...(await Promise.all(Array.from({ length: AT_ONCE }, () => docker.create(sleeper(image))))))
    }
    yield {
      what: `list of ${machines.length}`,
      against: 'raw API',
      kind: 'process',
      unit: 'ms',
      iterations: 4,
      ours: loop(() => docker.list()),
      theirs: loop(() => api.json('GET', `/containers/json?all=1&filters=${filters}`)),
      bar: { on: 'ratio', most: LIST_MOST },
    }
  } finally {
    while (machines.length > 0) await Promise.all(machines.splice(0, AT_ONCE).map((vm) => vm.delete()))
  }
}

/** It ends by SIGKILL only, as the first process of a container that asks for no signal. */
const sleeper = (image: string): VMConfig & { image: string } => ({ image, command: ['/bin/sleep', '1000000'], pull: 'never' })

/** A command that did not run would be the fastest. */
function requireSuccess(code: number | null): void {
  if (code !== 0) throw new Error(`${PROGRAM} ended with ${code}`)
}
