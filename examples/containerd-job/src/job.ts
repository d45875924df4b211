import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createManager } from '@vmkit/core'
import '@vmkit/containerd'
import { imageFromFolder, writeArchive } from '@vmkit/oci'

const BUSYBOX = process.env.BUSYBOX ?? '/bin/busybox' // any static build of it: `apt-get install busybox-static`
const IMAGE = 'containerd-job:example'

// Where containerd is, and a folder for logs, when they are not the usual ones.
const { VMKIT_CONTAINERD_SOCKET: socketPath, VMKIT_STATE_DIR: stateDir } = process.env
const options = { namespace: 'containerd-job', ...(socketPath ? { socketPath } : {}), ...(stateDir ? { stateDir } : {}) }
await using manager = createManager({ drivers: { containerd: options } })
const containerd = manager.driver('containerd')

// An image from nothing but one file: no registry is asked.
const rootfs = await mkdtemp(join(tmpdir(), 'containerd-job-'))
await mkdir(join(rootfs, 'bin'))
await copyFile(BUSYBOX, join(rootfs, 'bin/sh'))
const config = { Entrypoint: ['/bin/sh', '-c'] }
await containerd.images.import(writeArchive(await imageFromFolder(rootfs, { config, reference: IMAGE, ownership: 'root' })))
await rm(rootfs, { recursive: true })

{
  await using job = await containerd.create({
    image: IMAGE,
    pull: 'never',
    memory: '32MiB',
    args: ['total=0; while read -r n; do total=$((total + n)); done </in/numbers; echo "the sum is $total"; echo $total >/out; exit 3'],
    files: [{ path: '/in/numbers', content: '1\n2\n39\n' }],
  })
  await job.start()
  const { code } = await job.wait()
  for await (const { source, text } of job.logs()) console.log(source, text) // stdout the sum is 42
  console.log(`exit ${code}, result ${(await job.files.readText('/out')).trim()}`) // exit 3, result 42
} // the machine is deleted here

await containerd.images.remove(IMAGE)
