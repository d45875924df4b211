/** QEMU without the driver, for tests of single parts. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'

const QEMU = 'qemu-system-x86_64'

/** A program of this host; undefined when it is not on PATH. */
export function program(name: string): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter)
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path))
}

export const missingQemu = program(QEMU) && program('qemu-img') ? undefined : 'qemu-system-x86_64 and qemu-img are not installed'
if (missingQemu && process.env.VMKIT_REQUIRE_BACKENDS === '1') throw new Error(missingQemu)

export interface BareQemu extends AsyncDisposable {
  readonly folder: string
  readonly socketPath: string
  readonly child: ChildProcess
  kill(): Promise<void>
}

export function temporaryFolder(): { path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), 'vmkit-kvm-'))
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) }
}

function connects(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

/** Resolves when its QMP socket listens. */
export async function bareQemu(...args: string[]): Promise<BareQemu> {
  const folder = temporaryFolder()
  const socketPath = join(folder.path, 'qmp.sock')
  const child = spawn(
    QEMU,
    ['-nodefaults', '-no-user-config', '-display', 'none', '-qmp', `unix:${socketPath},server=on,wait=off`, ...args],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  let stderr = ''
  child.stderr.on('data', (data) => {
    stderr += String(data)
  })
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  // The file is there before anybody listens on it.
  while (!(await connects(socketPath))) {
    if (child.exitCode !== null) throw new Error(`QEMU ended at once: ${stderr}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL')
    await ended
  }
  return {
    folder: folder.path,
    socketPath,
    child,
    kill,
    async [Symbol.asyncDispose]() {
      await kill()
      folder[Symbol.dispose]()
    },
  }
}
