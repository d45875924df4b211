import { buildImage, dockerOf, findEngine, managerAt } from '../docker/engine.js'
import { engineRows } from '../docker/engine-rows.js'
import { startStubEngine } from '../docker/stub.js'
import { stubRows } from '../docker/stub-rows.js'
import type { Suite } from '../suite.js'

/** What the docker driver adds to its engine: on one that answers at once, and on a real one. */
export const suite: Suite = {
  async *comparisons(run) {
    const stub = await startStubEngine()
    try {
      yield* stubRows(stub)
    } finally {
      await stub.close()
    }

    const found = await findEngine()
    if ('reason' in found) {
      yield { what: 'real engine', omitted: found.reason }
      return
    }
    const manager = managerAt(found.socketPath)
    const docker = dockerOf(manager)
    const image = await buildImage(docker)
    try {
      yield* engineRows({ socketPath: found.socketPath, docker, image, run })
    } finally {
      await docker.images.remove(image)
      await manager.close()
    }
  },
}
