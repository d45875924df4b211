import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createManager, type VMConfig } from '@vmkit/core'
import '@vmkit/docker'
import '@vmkit/kvm'
import { imageFromFolder, writeArchive } from '@vmkit/oci'

const BUSYBOX = process.env.BUSYBOX ?? '/bin/busybox' // any static build of it: `apt-get install busybox-static`

// One OCI image: a folder with one program.
const folder = await mkdtemp(join(tmpdir(), 'same-image-'))
await mkdir(join(folder, 'bin'))
await copyFile(BUSYBOX, join(folder, 'bin/busybox'))
await using image = await imageFromFolder(folder, {
  reference: 'same-image-everywhere:example',
  config: { Entrypoint: ['/bin/busybox'], Env: ['GREETING=hello'], User: '1000', WorkingDir: '/bin' },
})

// One config, for whatever runs it.
const config: VMConfig = {
  image: 'same-image-everywhere:example',
  pull: 'never',
  memory: '128MiB',
  env: { PLACE: 'anywhere' },
  args: ['sh', '-c', 'busybox echo "$GREETING from $PLACE: Linux $(busybox uname -r), user $(busybox id -u), in $PWD"; exit 7'],
}

// Where the engine is, when it is not where the Docker CLI would look for it.
const socketPath = process.env.VMKIT_DOCKER_SOCKET
const stateDir = process.env.VMKIT_KVM_STATE
await using manager = createManager({
  drivers: { docker: socketPath === undefined ? {} : { socketPath }, kvm: stateDir === undefined ? {} : { stateDir } },
})

for (const driver of ['docker', 'kvm'] as const) {
  const host = manager.lookup(driver)
  await host.probe()
  if (!host.supports('images')) throw new Error(`${driver} has no images here: ${host.missing.images}`)
  const { reference } = await host.images.import(writeArchive(image))
  {
    await using machine = await host.create(config)
    await machine.start()
    const { code } = await machine.wait()
    if (machine.supports('logs')) for await (const { text } of machine.logs()) console.log(`${driver}: ${text}`)
    console.log(`${driver}: exit code ${code}`)
  } // the machine is deleted here
  await host.images.remove(reference)
}
await rm(folder, { recursive: true })
