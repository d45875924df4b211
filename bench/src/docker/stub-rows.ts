import { nodeNumber } from '../child.js'
import { driverCosts, importing, packageFolder } from '../driver-costs.js'
import { loop } from '../loop.js'
import type { Comparison } from '../suite.js'
import { bareCycle, cycle, dockerodeAt, PROGRAM } from './cycles.js'
import { type DockerHandle, dockerOf, managerAt } from './engine.js'
import { rawApi } from './raw-api.js'
import { ENDS_AT_ONCE, ENDS_WHEN_AWAITED, type StubEngine } from './stub.js'

const CYCLE_ADDS_MOST_MS = 2
const LISTED = 200
const CALLS_OF_A_JOB = 8
/** Counts do not vary: more samples would tell nothing. */
const COUNTED = { kind: 'memory', unit: 'count', rounds: 3 } as const

/** What vmkit adds, and how many calls it makes: on a stub, where the engine's own time is none. */
export async function* stubRows(stub: StubEngine): AsyncGenerator<Comparison> {
  const manager = managerAt(stub.socketPath)
  const docker = dockerOf(manager)
  const bare = dockerodeAt(stub.socketPath)
  const count = (run: () => Promise<unknown>) => async (): Promise<number> => {
    await stub.takeCalls()
    await run()
    return stub.takeCalls()
  }
  try {
    await docker.probe()
    for (const [image, when] of [
      [ENDS_AT_ONCE, 'ends before the wait'],
      [ENDS_WHEN_AWAITED, 'ends during the wait'],
    ] as const) {
      const ours = () => cycle(docker, image)
      const theirs = () => bareCycle(bare, image)
      const what = `create + start + wait + delete, ${when}`
      yield {
        what: `stub: ${what}`,
        against: 'bare dockerode',
        kind: 'loop',
        iterations: 10,
        unit: 'ms',
        ours: loop(ours),
        theirs: loop(theirs),
        bar: { on: 'difference', most: CYCLE_ADDS_MOST_MS },
      }
      yield { what: `stub: calls of ${what}`, against: 'bare dockerode', ...COUNTED, ours: count(ours), theirs: count(theirs) }
    }
    yield* listRows(stub, docker, count)
  } finally {
    await manager.close()
  }
  yield* importRows(stub)
}

async function* listRows(
  stub: StubEngine,
  docker: DockerHandle,
  count: (run: () => Promise<unknown>) => () => Promise<number>,
): AsyncGenerator<Comparison> {
  const api = rawApi(stub.socketPath)
  for (let index = 0; index < LISTED; index += 1) await docker.create({ image: ENDS_AT_ONCE, pull: 'never' }, { onDispose: 'detach' })
  const ours = () => docker.list()
  const theirs = () => api.json('GET', '/containers/json?all=1')
  const shared = { against: 'raw API' } as const
  try {
    yield { what: `stub: list of ${LISTED}`, ...shared, kind: 'loop', iterations: 4, unit: 'ms', ours: loop(ours), theirs: loop(theirs) }
    yield {
      what: `stub: calls of list of ${LISTED}`,
      ...shared,
      ...COUNTED,
      ours: count(ours),
      theirs: count(theirs),
      bar: { on: 'value', most: 1 },
    }
  } finally {
    api.close()
  }
}

/** Memory does not depend on how long the engine takes, so that its rows need no real one. */
function* importRows({ socketPath }: StubEngine): Generator<Comparison> {
  const options = { socketPath }
  yield* driverCosts({
    name: 'docker',
    options,
    config: { image: ENDS_AT_ONCE, command: [PROGRAM], pull: 'never' },
    libraries: ['dockerode'],
    // As many requests as the job makes.
    useOfLibraries: `import Docker from 'dockerode'
globalThis.modem = new Docker(${JSON.stringify(options)}).modem
for (let call = 0; call < ${CALLS_OF_A_JOB}; call += 1) {
  await new Promise((resolve, reject) => modem.dial({ path: '/version', method: 'GET', statusCodes: { 200: true } }, (error) => error ? reject(error) : resolve()))
}`,
  })
  const cwd = packageFolder('docker')
  const imports = importing('@vmkit/core', '@vmkit/docker')
  // dockerode and what it loads are CommonJS: each of their files that was run is in this cache.
  const tell = `import { createRequire } from 'node:module'
const files = Object.keys(createRequire(import.meta.url).cache).filter((file) => /[\\\\/](dockerode|docker-modem)[\\\\/]/.test(file))
process.stdout.write(String(files.length))`
  const use = `import { createManager } from '@vmkit/core'
const manager = createManager({ drivers: { docker: ${JSON.stringify(options)} } })
await manager.driver('docker').probe()
await manager.close()`
  yield {
    what: 'files of dockerode that the import loads',
    against: 'after a probe',
    ...COUNTED,
    ours: nodeNumber(`${imports}\n${tell}`, cwd),
    theirs: atLeastOne(nodeNumber(`${imports}\n${use}\n${tell}`, cwd)),
    bar: { on: 'value', most: 0 },
  }
}

/** Without it a look in the wrong place would pass for a driver that loads nothing. */
function atLeastOne(sample: ReturnType<typeof nodeNumber>): ReturnType<typeof nodeNumber> {
  return async (iterations) => {
    const value = await sample(iterations)
    if (value < 1) throw new Error('dockerode was used, and none of its files was seen')
    return value
  }
}
