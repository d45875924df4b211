/** The daemons under test, and the image that tests run: nothing can be pulled from elsewhere, so it is made here. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ImageSource, imageFromFolder, pushImage as push, writeArchive } from '@vmkit/oci'
import { backendEnv, backendPath } from '../../../scripts/lib/backends.js'
import { type Connection, connection } from '../src/grpc/connection.js'
import { imageAccess } from '../src/images/access.js'
import { containerdImages } from '../src/images/images.js'

export { backendEnv }

export const IMAGE = 'vmkit-test/busybox:1'

/** By version; `undefined` where it does not run. */
export const sockets = {
  '1.6': backendPath('VMKIT_CONTAINERD_SOCKET'),
  '1.7': backendPath('VMKIT_CONTAINERD_17_SOCKET'),
  '2': backendPath('VMKIT_CONTAINERD_2_SOCKET'),
} as const

/** Behind the name of a test that needs an engine, so that the closing table tells why it did not run. */
export const why = (socket: string | undefined) => (socket === undefined ? ' (not run: no engine; scripts/backends up starts one)' : '')

/** Why the tests of a real engine do not run here; with VMKIT_REQUIRE_BACKENDS=1 that is an error. */
export function requireEngine(socket: string | undefined): boolean {
  if (socket !== undefined) return true
  if (process.env.VMKIT_REQUIRE_BACKENDS === '1') throw new Error('no engine: scripts/backends up starts one')
  return false
}

// Debian's busybox is built without it.
const PRINTENV = String.raw`#!/bin/sh
eval "[ \"\${$1+set}\" ] || exit 1; printf '%s\n' \"\$$1\""
`

/** A root file system of Debian's static busybox, with a user beside root. */
async function rootfsFolder(): Promise<string> {
  const busybox = ['/bin/busybox', '/usr/bin/busybox'].find((file) => existsSync(file))
  if (busybox === undefined) throw new Error('The test images need busybox-static; scripts/backends up installs it')
  const folder = await mkdtemp(join(tmpdir(), 'vmkit-rootfs-'))
  await chmod(folder, 0o755)
  for (const name of ['bin', 'etc', 'tmp', 'root', 'home/worker', 'proc', 'sys', 'dev', 'var', 'data', 'usr/bin']) {
    await mkdir(join(folder, name), { recursive: true })
  }
  await chmod(join(folder, 'tmp'), 0o1777)
  await copyFile(busybox, join(folder, 'bin/busybox'))
  const applets = execFileSync(busybox, ['--list'], { encoding: 'utf8' }).split('\n')
  for (const name of applets.filter((each) => each !== '' && each !== 'busybox')) await symlink('busybox', join(folder, 'bin', name))
  await writeFile(join(folder, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000::/home/worker:/bin/sh\n')
  await writeFile(join(folder, 'etc/group'), 'root:x:0:\nworker:x:1000:\n')
  await writeFile(join(folder, 'bin/hello'), '#!/bin/sh\necho hello\n', { mode: 0o755 })
  await writeFile(join(folder, 'bin/printenv'), PRINTENV, { mode: 0o755 })
  return folder
}

/** The test image, as a source; whoever asks for it closes it. */
export async function testImage(reference = IMAGE, extra: Readonly<Record<string, string | Uint8Array>> = {}): Promise<ImageSource> {
  const folder = await rootfsFolder()
  try {
    for (const [path, content] of Object.entries(extra)) await writeFile(join(folder, path), content)
    const config = { Env: ['PATH=/bin:/usr/bin'], Cmd: ['sh'] }
    return await imageFromFolder(folder, { config, reference, compression: 'gzip', ownership: 'root' })
  } finally {
    await rm(folder, { recursive: true })
  }
}

export async function* archiveOf(source: ImageSource): AsyncGenerator<Uint8Array> {
  try {
    yield* writeArchive(source)
  } finally {
    await source.close()
  }
}

export function connect(socketPath: string, namespace: string): Connection {
  return connection({ socketPath, namespace, driver: 'containerd' })
}

/** Makes the test image when the namespace of the daemon does not have it. */
export async function ensureTestImage(socketPath: string, namespace: string, reference = IMAGE): Promise<void> {
  const link = connect(socketPath, namespace)
  try {
    const images = containerdImages(imageAccess(link, {}))
    const ctx = { signal: new AbortController().signal, deadline: undefined, report: () => undefined }
    if ((await images.list(ctx)).some((each) => each.reference === reference && each.sizeBytes !== null)) return
    await images.import(archiveOf(await testImage(reference)), reference, ctx)
  } finally {
    link.close()
  }
}

/** An image of a registry, without a daemon. */
export async function pushTestImage(target: string, extra: Readonly<Record<string, string | Uint8Array>> = {}): Promise<void> {
  const source = await testImage(target, extra)
  try {
    await push(source, target, { credentials: registryCredentials(target) })
  } finally {
    await source.close()
  }
}

/** Those of the registry with a password; `false` for the open one. */
export function registryCredentials(target: string): { username: string; password: string } | false {
  const host = backendEnv('VMKIT_PRIVATE_REGISTRY')
  if (host === undefined || !target.startsWith(`${host}/`)) return false
  const [username = '', password = ''] = (backendEnv('VMKIT_PRIVATE_REGISTRY_AUTH') ?? ':').split(':')
  return { username, password }
}

/** With the images in it; a machine, a lease or a snapshot that is left keeps it from going, which is an error. */
export async function dropNamespace(socketPath: string, namespace: string): Promise<void> {
  const link = connect(socketPath, namespace)
  try {
    const containerd = await link.get()
    const { images } = await containerd.images.list({})
    for (const { name } of images) await containerd.images.delete({ name, sync: true })
    await containerd.namespaces.delete({ name: namespace })
  } finally {
    link.close()
  }
}
