/** The stand-in of scripts/backends, the image that tests run, and what may not be left of a machine. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { chmod, copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { shellCommand, type Workload } from '@vmkit/conformance'
import { createManager } from '@vmkit/core'
import { imageFromFolder, writeArchive } from '@vmkit/oci'
import { afterAll } from 'vitest'
import { type KataOptions, kata } from '../src/driver.js'

export const IMAGE = 'vmkit-test/busybox:1'
const BACKENDS = join(import.meta.dirname, '../../../scripts/backends')

/** What `scripts/backends env` prints; the environment goes first. */
function backendEnv(name: string): string | undefined {
  if (process.env[name]) return process.env[name]
  try {
    const lines = execFileSync(BACKENDS, ['env'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split('\n')
    return lines.find((line) => line.startsWith(`${name}=`))?.slice(name.length + 1)
  } catch {
    return undefined
  }
}

const there = (name: string) => [backendEnv(name)].find((path) => path !== undefined && existsSync(path))

/** The runc shim under Kata's name. */
export const STAND_IN = there('VMKIT_KATA_STAND_IN')
export const socketPath = STAND_IN === undefined ? undefined : there('VMKIT_CONTAINERD_SOCKET')

/** Behind the name of a test that needs it, so that the closing table tells why it did not run. */
export const why =
  socketPath === undefined ? ' (not run: no stand-in for Kata; scripts/backends up makes one)' : ' (on the STAND-IN, no VM)'

/** With VMKIT_REQUIRE_BACKENDS=1 a stand-in that is not there is an error. */
export function requireStandIn(): boolean {
  if (socketPath !== undefined) return true
  if (process.env.VMKIT_REQUIRE_BACKENDS === '1') throw new Error('no stand-in for Kata: scripts/backends up makes one')
  return false
}

export function stateFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'vmkit-kata-test-'))
  afterAll(() => {
    removeBridges(folder)
    rmSync(folder, { recursive: true, force: true })
  })
  return folder
}

/** The default network stays for the next machine. With its state folder it would be forgotten, and its subnet lead nowhere. */
function removeBridges(folder: string): void {
  const networks = join(folder, 'networks')
  for (const name of existsSync(networks) ? readdirSync(networks) : []) {
    const { conf } = JSON.parse(readFileSync(join(networks, name, 'network.json'), 'utf8')) as { conf: { plugins: { bridge?: string }[] } }
    for (const { bridge } of conf.plugins)
      if (bridge && existsSync(`/sys/class/net/${bridge}`)) execFileSync('ip', ['link', 'delete', bridge])
  }
}

/** The kit's commands, but busybox's nc wants other options. */
export function command(workload: Workload): string[] {
  if (workload.does === 'serve') return ['nc', '-ll', '-p', String(workload.port), '-e', '/bin/hello']
  return shellCommand(workload)
}

// Debian's busybox is built without it.
const PRINTENV = String.raw`#!/bin/sh
eval "[ \"\${$1+set}\" ] || exit 1; printf '%s\n' \"\$$1\""
`

/** Makes the test image of Debian's static busybox when the namespace does not have it. */
export async function ensureTestImage(options: KataOptions): Promise<void> {
  await using manager = createManager({ drivers: { kata: kata(options) } })
  const { images } = manager.driver('kata')
  if ((await images.list()).some(({ reference }) => reference === IMAGE)) return
  const busybox = ['/bin/busybox', '/usr/bin/busybox'].find((file) => existsSync(file))
  if (busybox === undefined) throw new Error('The test images need busybox-static; scripts/backends up installs it')
  const folder = await mkdtemp(join(tmpdir(), 'vmkit-rootfs-'))
  try {
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
    await using image = await imageFromFolder(folder, {
      config: { Env: ['PATH=/bin:/usr/bin'], Cmd: ['sh'] },
      reference: IMAGE,
      ownership: 'root',
    })
    await images.import(writeArchive(image), { reference: IMAGE })
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** Containers, snapshots and leases of the namespace, mounts and files of the state folder. */
export async function leftovers(namespace: string, stateDir: string): Promise<string[]> {
  if (socketPath === undefined) return []
  const ctr = (...args: string[]) =>
    execFileSync('ctr', ['--address', socketPath, '--namespace', namespace, ...args], { encoding: 'utf8' })
      .split('\n')
      .filter((line) => line.trim() !== '')
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  const files = (folder: string) => (existsSync(join(stateDir, namespace, folder)) ? readdirSync(join(stateDir, namespace, folder)) : [])
  return [
    ...ctr('containers', 'list', '-q').map((id) => `container ${id}`),
    ...ctr('snapshots', 'list')
      .filter((line) => /\sActive\s*$/.test(line))
      .map((line) => `snapshot ${line}`),
    ...ctr('leases', 'list', '-q').map((id) => `lease ${id}`),
    ...mounts.filter((line) => line.includes(stateDir)).map((line) => `mount ${line.split(' ')[4]}`),
    ...['machines', 'netns'].flatMap((folder) => files(folder).map((name) => `${folder}/${name}`)),
    // FIFOs of programs that live are theirs.
    ...files('fifos')
      .filter((name) => !name.startsWith(`${process.pid}.`))
      .map((name) => `fifos/${name}`),
  ]
}
