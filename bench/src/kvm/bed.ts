import { execFileSync, spawn } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createManager, type VMConfig } from '@vmkit/core'
import { kvm } from '@vmkit/kvm/driver'

/** Of every guest, in bytes. */
export const MEMORY = 128 * 2 ** 20

export async function timed(task: () => Promise<unknown>): Promise<number> {
  const began = performance.now()
  await task()
  return performance.now() - began
}

const BUSYBOX = '/bin/busybox'

/** Under 71 bytes with what the driver adds, as a UNIX socket's path is short. */
export function temporary(): string {
  return mkdtempSync(join(tmpdir(), 'vmkit-bench-'))
}

export function bed() {
  const stateDir = temporary()
  const manager = createManager({ drivers: { kvm: kvm({ stateDir }) } })
  const driver = manager.driver('kvm')
  let last = 0
  return {
    stateDir,
    driver,
    /** As a target of migrations, which takes a driver of any kind. */
    target: manager.lookup('kvm'),
    name() {
      last += 1
      return `bench-${last}`
    },
    create: (config: VMConfig) => driver.create(config, { onDispose: 'detach' }),
    folderOf: (id: string) => join(stateDir, 'machines', id),
    async close() {
      for (const { id } of await driver.list()) await (await driver.get(id)).delete({ force: true })
      await manager.close()
      rmSync(stateDir, { recursive: true, force: true })
    },
  }
}

export type Bed = ReturnType<typeof bed>

/** A disk that prints one letter to COM1 and halts: what is measured is the way to the first instruction of the guest. */
export function writeBootSector(path: string): void {
  const disk = Buffer.alloc(2 ** 20)
  // mov dx,0x3f8; mov al,'A'; out dx,al; hlt; jmp hlt
  disk.set([0xba, 0xf8, 0x03, 0xb0, 0x41, 0xee, 0xf4, 0xeb, 0xfd])
  disk.writeUInt16LE(0xaa55, 510)
  writeFileSync(path, disk)
}

/** Linux that counts aloud, fifty times a second. */
export function writeRoot(): string {
  const root = temporary()
  for (const folder of ['bin', 'etc', 'tmp', 'proc', 'sys', 'dev']) mkdirSync(join(root, folder))
  copyFileSync(BUSYBOX, join(root, 'bin/busybox'))
  for (const name of ['sh', 'mkfifo']) symlinkSync('busybox', join(root, 'bin', name))
  return root
}

/**
 * By the shell alone: to start a program takes an emulated kernel half a second when QEMU has just come up, as QEMU translates all of it
 * anew. That time is the guest's own, on both sides of every row.
 */
export const COUNTING = [
  '/bin/sh',
  '-c',
  'mkfifo /tmp/never; exec 3<>/tmp/never; i=0; while :; do echo $i; i=$((i+1)); read -t 0.02 x <&3; done',
]

export function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}

/** Looks once a millisecond, on both sides alike. */
export async function untilLonger(path: string, size: number): Promise<void> {
  while (sizeOf(path) <= size) await new Promise((resolve) => setTimeout(resolve, 1))
}

/** The command line of a QEMU that vmkit started, but for the connection that it handed down. */
export function argumentsOf(pid: number): { program: string; args: string[] } {
  const [program = '', ...args] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1)
  const own = args.findIndex((value) => value.startsWith('socket,id=first'))
  if (own > 0) args.splice(own - 1, 4)
  return { program, args }
}

/** A copy of what the machine's QEMU was given, in a folder of its own. */
export function bareFolder(from: string): string {
  const folder = temporary()
  execFileSync('cp', ['--sparse=always', '-r', '-T', from, folder], { stdio: 'ignore' })
  for (const name of ['console.log', 'stdout.log', 'qmp.sock']) rmSync(join(folder, name), { force: true })
  return folder
}

export interface Bare {
  kill(): Promise<void>
}

/** QEMU by itself, with the same arguments. */
export function startBare(
  { program, args }: { program: string; args: readonly string[] },
  folder: string,
  inherited: readonly number[] = [],
): Bare {
  for (const name of ['console.log', 'stdout.log', 'qmp.sock']) rmSync(join(folder, name), { force: true })
  writeFileSync(join(folder, 'events.in'), '{"execute":"qmp_capabilities"}\n')
  const child = spawn(program, args, { cwd: folder, detached: true, stdio: ['ignore', 'ignore', 'ignore', 'ignore', ...inherited] })
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  return {
    async kill() {
      child.kill('SIGKILL')
      await ended
    },
  }
}

export function missing(): string | undefined {
  return existsSync(BUSYBOX) ? undefined : 'busybox-static is not installed, of which the guest is made'
}
