/** The stand-in of scripts/backends, the image that tests run, and what may not be left of a machine. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { shellCommand, type Workload } from '@vmkit/conformance'
import { createManager } from '@vmkit/core'
import { afterAll } from 'vitest'
// The same image as containerd's tests have, and the daemons that they know.
import { archiveOf, backendEnv, IMAGE, sockets, testImage } from '../../containerd/test/engine.js'
import { type KataOptions, kata } from '../src/driver.js'

export { IMAGE, sockets }

const there = (name: string) => [backendEnv(name)].find((path) => path !== undefined && existsSync(path))

/** The runc shim under Kata's name. */
export const STAND_IN = there('VMKIT_KATA_STAND_IN')
export const socketPath = STAND_IN === undefined ? undefined : sockets['1.6']

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

/** Brings containerd's test image into the namespace that does not have it. */
export async function ensureTestImage(options: KataOptions): Promise<void> {
  await using manager = createManager({ drivers: { kata: kata(options) } })
  const { images } = manager.driver('kata')
  if ((await images.list()).some(({ reference }) => reference === IMAGE)) return
  await images.import(archiveOf(await testImage()), { reference: IMAGE })
}

/** Containers, snapshots and leases of the namespace, mounts and files of the state folder. */
export async function leftovers(namespace: string, stateDir: string, socket = socketPath): Promise<string[]> {
  if (socket === undefined) return []
  const ctr = (...args: string[]) =>
    execFileSync('ctr', ['--address', socket, '--namespace', namespace, ...args], { encoding: 'utf8' })
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
