import Docker from 'dockerode'
import type { DockerHandle } from './engine.js'

export const PROGRAM = '/bin/true'

/** A machine from create to delete, as apps do it. */
export async function cycle(docker: DockerHandle, image: string): Promise<void> {
  const vm = await docker.create({ image, command: [PROGRAM], pull: 'never' })
  await vm.start()
  await vm.wait()
  await vm.delete()
}

export function dockerodeAt(socketPath: string): Docker {
  return new Docker({ socketPath })
}

/** The same by dockerode alone. */
export async function bareCycle(bare: Docker, image: string): Promise<void> {
  const container = await bare.createContainer({ Image: image, Entrypoint: [PROGRAM] })
  await container.start()
  await container.wait()
  await container.remove({ v: true })
}
