import { existsSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { containerd } from '@vmkit/containerd/driver'
import { createManager, type VM, type VMConfig } from '@vmkit/core'
import { docker } from '@vmkit/docker/driver'
import { kvm } from '@vmkit/kvm/driver'
import { imageFromFolder, writeArchive } from '@vmkit/oci'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { backendPath } from '../../../scripts/lib/backends.js'

const IMAGE = 'vmkit-exchange:1'

/** What a machine that came in a bundle has here. */
type Arrived = VM<{ readonly exec: true; readonly files: true; readonly logs: true; readonly bundle: true }>

const sockets = { docker: backendPath('VMKIT_DOCKER_SOCKET'), containerd: backendPath('VMKIT_CONTAINERD_SOCKET') }
const hasQemu = (process.env.PATH ?? '').split(':').some((folder) => existsSync(join(folder, 'qemu-system-x86_64')))
const lacking =
  sockets.docker === undefined
    ? 'Docker engine'
    : sockets.containerd === undefined
      ? 'containerd'
      : process.geteuid?.() !== 0
        ? 'root, which containerd needs'
        : undefined
if (process.env.VMKIT_REQUIRE_BACKENDS === '1' && (lacking !== undefined || !hasQemu)) throw new Error(`no ${lacking ?? 'QEMU'}`)
const why = (reason: string | undefined): string => (reason === undefined ? '' : ` (not run: no ${reason})`)

describe.skipIf(lacking !== undefined)(`bundles between drivers${why(lacking)}`, { timeout: 120_000 }, () => {
  let folder: string
  let manager: ReturnType<typeof open>
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'vmkit-exchange-'))
    manager = open(folder)
    await mkdir(join(folder, 'root/bin'), { recursive: true })
    await mkdir(join(folder, 'root/data'))
    await copyFile('/bin/busybox', join(folder, 'root/bin/busybox'))
    await using image = await imageFromFolder(join(folder, 'root'), { reference: IMAGE, config: { Env: ['FROM_IMAGE=yes'] } })
    await manager.driver('docker').images.import(bytesOf(writeArchive(image)))
  }, 60_000)
  afterAll(async () => {
    await manager.driver('docker').images.remove(IMAGE)
    const containers = manager.driver('containerd')
    if (containers.supports('networks')) await containers.networks.remove('vmkit-default')
    await manager.close()
    await rm(folder, { recursive: true })
  }, 60_000)

  const name = (place: string): string => `vmkit-exchange-${place}`
  /** Serves what is in a file. */
  const server: VMConfig = {
    image: IMAGE,
    pull: 'never',
    command: ['/bin/busybox', 'nc', '-ll', '-p', '8080', '-e', '/bin/busybox', 'cat', '/data/file'],
    env: { PLACE: 'any where, "quoted"' },
    ports: [{ guest: 8080 }],
    labels: { team: 'a/b=c' },
    files: [{ path: '/data/placed', content: 'placed' }],
    stop: { graceMs: 0 },
  }

  it('from Docker to containerd and back', async () => {
    await using first = await manager.driver('docker').create({ ...server, name: name('docker') })
    await first.start()
    await first.files.write('/data/file', 'written in docker')
    expect(await served(first)).toBe('written in docker')

    await using second = await arrival(
      manager.driver('containerd').importBundle(bytesOf(first.exportBundle()), { name: name('containerd') }),
    )
    await second.start()
    expect(await served(second)).toBe('written in docker')
    expect(await second.files.readText('/data/placed')).toBe('placed')
    expect((await second.exec(['/bin/busybox', 'env'])).stdout).toContain('PLACE=any where, "quoted"\n')
    await second.files.write('/data/file', 'written in containerd')

    await using third = await arrival(manager.driver('docker').importBundle(bytesOf(second.exportBundle()), { name: name('back') }))
    await third.start()
    expect(await served(third)).toBe('written in containerd')
    expect(await third.files.readText('/data/placed')).toBe('placed')
    expect((await third.exec(['/bin/busybox', 'env'])).stdout).toMatch(/^FROM_IMAGE=yes$/m)
    for (const vm of [first, second, third]) {
      const { config, labels } = await vm.info()
      expect(config).toMatchObject({ command: server.command, env: server.env, ports: [{ guest: 8080 }], stop: { graceMs: 0 } })
      expect(labels).toMatchObject(server.labels ?? {})
    }
  })

  it.skipIf(!hasQemu)(`from Docker into a virtual machine, which Docker does not take back${hasQemu ? '' : why('QEMU')}`, async () => {
    const config = {
      ...server,
      command: ['/bin/busybox', 'sh', '-c', 'busybox cat /data/file; echo " $PLACE $FROM_IMAGE"; exit 7'],
      ports: [],
      memory: '128MiB',
    }
    await using container = await manager.driver('docker').create({ ...config, name: name('container') })
    await container.files.write('/data/file', 'written in docker')
    const host = manager.driver('kvm')
    await host.probe()
    if (!host.supports('bundle')) throw new Error(host.missing.bundle)
    await using machine = await arrival(host.importBundle(bytesOf(container.exportBundle()), { name: name('machine') }))
    await machine.start()
    expect((await machine.wait()).code).toBe(7)
    const texts: string[] = []
    for await (const { text, source } of machine.logs()) if (source === 'stdout') texts.push(text)
    expect(texts).toEqual(['written in docker any where, "quoted" yes'])
    await expect(manager.driver('docker').importBundle(bytesOf(machine.exportBundle()), { name: name('refused') })).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      capability: 'bundle',
    })
    expect((await manager.driver('docker').list()).map((vm) => vm.name)).not.toContain(name('refused'))
  })
})

function open(folder: string) {
  const { docker: dockerSocket = '', containerd: containerdSocket = '' } = sockets
  return createManager({
    drivers: {
      docker: docker({ socketPath: dockerSocket }),
      containerd: containerd({ socketPath: containerdSocket, namespace: 'vmkit-exchange', stateDir: join(folder, 'containerd') }),
      kvm: kvm({ stateDir: join(folder, 'kvm') }),
    },
  })
}

/** What comes from the machine's port, once it listens. */
async function served(vm: {
  waitFor(condition: { port: number }): Promise<void>
  endpoint(port: number): Promise<{ host: string; port: number }>
}) {
  await vm.waitFor({ port: 8080 })
  const { connect } = await import('node:net')
  const { host, port } = await vm.endpoint(8080)
  let text = ''
  for await (const chunk of connect({ host, port }).setEncoding('utf8')) text += chunk
  return text
}

async function arrival(vm: Promise<VM>): Promise<Arrived> {
  return (await vm) as unknown as Arrived
}

async function* bytesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* chunks
}
