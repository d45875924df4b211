/** Where things are in the state folder. Everything in it belongs to one machine, or has a name that a person chose. */
import { mkdirSync, renameSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'

/** The folder of one machine. */
export interface MachineFolder {
  path: string
  stdout: string
  stderr: string
  console: string
  /** What the logger writes, where there is one. */
  log: string
  /** Stdin of the main process: a FIFO. */
  stdin: string
  /** Socket of the daemon that has the machine: two may share this folder. */
  daemon: string
  hosts: string
  hostname: string
  resolvConf: string
  /** How the last run ended, once its task is gone. */
  exit: string
  /** What networks it was given, while it has them. */
  network: string
  /** Mount point of the snapshot while somebody reads or writes the files of a stopped machine. */
  rootfs: string
}

export function machineFolder(root: string, uid: string): MachineFolder {
  const path = join(root, 'machines', uid)
  return {
    path,
    stdout: join(path, 'stdout'),
    stderr: join(path, 'stderr'),
    console: join(path, 'console'),
    log: join(path, 'log'),
    stdin: join(path, 'stdin'),
    daemon: join(path, 'daemon'),
    hosts: join(path, 'hosts'),
    hostname: join(path, 'hostname'),
    resolvConf: join(path, 'resolv.conf'),
    exit: join(path, 'exit.json'),
    network: join(path, 'network.json'),
    rootfs: join(path, 'rootfs'),
  }
}

/** `stateDir/<namespace>`: machines of two namespaces share nothing. */
export function stateRoot(stateDir: string, namespace: string): string {
  return join(stateDir, namespace)
}

export function netnsPath(root: string, uid: string): string {
  return join(root, 'netns', uid)
}

/** Makes a folder that only its owner may enter. */
export function privateFolder(path: string): string {
  mkdirSync(path, { recursive: true, mode: 0o700 })
  return path
}

/** Under another name first: whoever looks for the folder finds it whole, or not at all. */
export function removeFolder({ path }: MachineFolder): void {
  const gone = join(dirname(path), `${GONE}${basename(path)}`)
  try {
    renameSync(path, gone)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  rmSync(gone, { recursive: true, force: true })
}

/** What the names of folders start with that are on their way out. */
export const GONE = '.gone-'
