import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createManager } from '@vmkit/core'
import '@vmkit/docker'

const BUSYBOX = process.env.BUSYBOX ?? '/bin/busybox' // any static build of it: `apt-get install busybox-static`

// Where the engine is, when it is not where the Docker CLI would look for it.
const socketPath = process.env.VMKIT_DOCKER_SOCKET
await using manager = createManager({ drivers: { docker: socketPath === undefined ? {} : { socketPath } } })
const docker = manager.driver('docker')

// An image from nothing but one file: no registry is asked.
const context = await mkdtemp(join(tmpdir(), 'docker-web-'))
await copyFile(BUSYBOX, join(context, 'busybox'))
await writeFile(join(context, 'index.html'), '<h1>served by vmkit</h1>\n')
await writeFile(
  join(context, 'Dockerfile'),
  [
    'FROM scratch',
    'COPY busybox /bin/busybox',
    'COPY index.html /www/index.html',
    'HEALTHCHECK --interval=200ms CMD ["/bin/busybox", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/"]',
    'USER 1000',
    'ENTRYPOINT ["/bin/busybox", "httpd", "-f", "-v", "-p", "8080", "-h", "/www"]',
  ].join('\n'),
)
const image = await docker.build({ context, tag: 'docker-web:example' })
await rm(context, { recursive: true })

{
  await using web = await docker.create({ image: image.reference, memory: '64MiB', ports: [{ guest: 8080 }] })
  await web.start()
  await web.waitFor({ healthy: true, timeoutMs: 30_000 })

  const { host, port } = await web.endpoint(8080)
  const answer = await fetch(`http://${host}:${port}/`)
  console.log(answer.status, (await answer.text()).trim()) // 200 <h1>served by vmkit</h1>

  const { memory, network } = await web.metrics()
  console.log(`${memory.usedBytes} bytes of memory, ${network?.txBytes} bytes sent`)

  for await (const { source, text } of web.logs({ tail: 1 })) console.log(source, text)
} // the machine is deleted here

await docker.images.remove(image.reference)
