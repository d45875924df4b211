import { createRequire } from 'node:module'
import type Docker from 'dockerode'
import { packageFolder } from '../driver-costs.js'
import type { DockerHandle } from './engine.js'

export const PROGRAM = '/bin/true'

/** A machine from create to delete, as apps do it. */
export async function cycle(docker: DockerHandle, image: string): Promise<void> {
  const vm = await docker.create({ image, command: [PROGRAM], pull: 'never' })
  await vm.start()
  await vm.wait()
  await vm.delete()
}

/** dockerode as the driver resolves it. */
export function dockerodeAt(socketPath: string): Docker {
  const Dockerode = createRequire(`${packageFolder('docker')}package.json`)('dockerode') as typeof Docker
  return new Dockerode({ socketPath })
}

/** The same by dockerode alone. */
export async function bareCycle(bare: Docker, image: string): Promise<void> {
  const container = await bare.createContainer({ Image: image, Entrypoint: [PROGRAM] })
  await container.start()
  await container.wait()
  await container.remove({ v: true })
}
