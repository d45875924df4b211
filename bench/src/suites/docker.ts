import { execFile } from 'node:child_process'
import { createRequire } from 'node:module'
import { promisify } from 'node:util'
import '@vmkit/docker'
import { createManager, type VMConfig } from '@vmkit/core'
import type Docker from 'dockerode'
import { engineSocket, ensureImage, IMAGE } from '../../../packages/docker/test/engine.js'
import { rawEngine } from '../docker/raw.js'
import { stubEngine } from '../docker/stub.js'
import { driverCosts, packageFolder } from '../driver-costs.js'
import { once } from '../loop.js'
import type { Suite } from '../suite.js'

// The bars of the issue that asked for the driver.
const ADDS_MOST_MS = 2
const TO_RAW_API = 1.03
const TO_DOCKER_RUN = 0.95
const EXEC_TO_RAW_API = 1.1
const LIST_TO_RAW_API = 1.2
const MANY = 200

const CONFIG: VMConfig = { image: IMAGE, pull: 'never', command: ['true'] }
const BODY = { Image: IMAGE, Entrypoint: ['true'] }
const run = promisify(execFile)

/** What the docker driver adds to the Engine API, to dockerode and to the Docker CLI. */
export const suite: Suite = {
  async unavailable() {
    return engineSocket() === undefined ? 'no Docker engine; scripts/backends up starts one' : undefined
  },

  async *comparisons() {
    const socketPath = engineSocket() as string
    await ensureImage(socketPath)
    // The library as the driver resolves it.
    const Dockerode = createRequire(`${packageFolder('docker')}package.json`)('dockerode') as typeof Docker

    const stub = await stubEngine()
    const stubbed = createManager({ drivers: { docker: { socketPath: stub.socketPath } } })
    const bare = new Dockerode({ socketPath: stub.socketPath })
    try {
      yield {
        what: 'create + start + wait + delete on a stub engine',
        against: 'dockerode',
        kind: 'process',
        unit: 'ms',
        ours: once(() => cycle(stubbed.driver('docker'))),
        theirs: once(async () => {
          const container = await bare.createContainer(BODY)
          await container.start()
          await container.wait()
          await container.remove()
        }),
        bar: { on: 'difference', most: ADDS_MOST_MS },
      }
    } finally {
      await stubbed.close()
      await stub.close()
    }

    yield* driverCosts({ name: 'docker', options: { socketPath }, config: CONFIG, libraries: ['dockerode'] })

    const manager = createManager({ drivers: { docker: { socketPath } } })
    const handle = manager.driver('docker')
    const raw = rawEngine(socketPath)
    try {
      yield {
        what: 'create + start + wait + delete',
        against: 'the raw API',
        kind: 'process',
        unit: 'ms',
        ours: once(() => cycle(handle)),
        theirs: once(async () => {
          const { Id } = await raw.call<{ Id: string }>('POST', '/containers/create', BODY)
          await raw.call('POST', `/containers/${Id}/start`)
          await raw.call('POST', `/containers/${Id}/wait`)
          await raw.call('DELETE', `/containers/${Id}`)
        }),
        bar: { on: 'ratio', most: TO_RAW_API },
      }
      yield {
        what: 'the same',
        against: 'docker run --rm',
        kind: 'process',
        unit: 'ms',
        ours: once(() => cycle(handle)),
        theirs: once(() => run('docker', ['-H', `unix://${socketPath}`, 'run', '--rm', IMAGE, 'true'])),
        bar: { on: 'ratio', most: TO_DOCKER_RUN },
      }

      const vm = await handle.create({ ...CONFIG, command: ['sleep', '86400'] })
      await vm.start()
      yield {
        what: 'exec',
        against: 'the raw API',
        kind: 'process',
        unit: 'ms',
        ours: once(() => vm.exec(['true'])),
        theirs: once(() => raw.exec(vm.id, ['true'])),
        bar: { on: 'ratio', most: EXEC_TO_RAW_API },
      }
      await vm.delete({ force: true })

      const vms = await Promise.all(Array.from({ length: MANY }, () => handle.create(CONFIG)))
      const filters = encodeURIComponent(JSON.stringify({ label: ['vmkit.machine=docker'] }))
      yield {
        what: `list ${MANY}`,
        against: 'the raw API',
        kind: 'process',
        unit: 'ms',
        ours: once(() => handle.list()),
        theirs: once(() => raw.call('GET', `/containers/json?all=true&filters=${filters}`)),
        bar: { on: 'ratio', most: LIST_TO_RAW_API },
      }
      await Promise.all(vms.map((each) => each.delete()))
    } finally {
      raw.close()
      await manager.close()
    }
  },
}

async function cycle(handle: {
  create(config: VMConfig): Promise<{ start(): Promise<void>; wait(): Promise<unknown>; delete(): Promise<void> }>
}): Promise<void> {
  const vm = await handle.create(CONFIG)
  await vm.start()
  await vm.wait()
  await vm.delete()
}
