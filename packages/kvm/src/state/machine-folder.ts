/**
 * The files of one machine. QEMU's working folder is this folder, so that what QEMU is told of it is a bare file name
 * (`disk.qcow2`), and a copy of the folder is a whole machine. vmkit itself uses the absolute paths.
 */
import { join } from 'node:path'
import { invalidConfig } from '@vmkit/core/driver'
import { DRIVER } from '../name.js'

/** Bare names, as QEMU is told them. */
export const FILES = {
  /** What was asked for, and what was made of it at create. Never changes afterwards but by rename over it. */
  record: 'record.json',
  /** The last start: pid, start time, ports, accelerator. */
  run: 'run.json',
  /** QMP for commands; serves one client at a time, so hold the machine's lock while connected. */
  qmp: 'qmp.sock',
  /** Every QMP event of the last run, a JSON text per line, written by QEMU itself, whoever is connected or not. */
  events: 'events.out',
  /** The command that opens the event log; QEMU reads it once. The names are those of `-chardev pipe,path=events`. */
  eventsInput: 'events.in',
  /** virtio-serial port `org.qemu.guest_agent.0`; one client at a time. */
  agent: 'agent.sock',
  /** The first serial port, for people. */
  console: 'console.sock',
  /** All that the serial port ever said, over all runs. */
  consoleLog: 'console.log',
  /** What the main process of an image wrote, each over a virtio-serial port of its own, over all runs. */
  stdoutLog: 'stdout.log',
  stderrLog: 'stderr.log',
  /** stdin or terminal of the main process of an image; what a terminal shows is kept in the log. */
  main: 'main.sock',
  mainLog: 'main.log',
  /** The guest's own report of how its main process ended: `{"code":7}` or `{"signal":9}`, of the last run. */
  exit: 'exit.json',
  disk: 'disk.qcow2',
  /** What it boots, where that is the vmkit guest or came in a bundle. */
  kernel: 'kernel',
  /** The vmkit guest's initramfs with what this machine runs. */
  initrd: 'initrd.img',
  /** The same with the networks of one start, while QEMU reads it. */
  startInitrd: 'start.img',
  /** It runs in its networks; whoever sees its end first takes it away and tells the others. */
  joined: 'joined',
  /** What cloud-init reads. */
  seed: 'seed.iso',
  /** The memory of a machine that is a template, while it runs. */
  memory: 'memory.ram',
  /** The memory that a clone of a template wakes from, until its QEMU has mapped it. */
  mapped: 'mapped.ram',
  vnc: 'vnc.sock',
  /** UEFI's variables. */
  firmware: 'firmware.fd',
  /** What QEMU itself wrote to stdout and stderr, of the last run. */
  qemuLog: 'qemu.log',
  snapshots: 'snapshots',
  /** Who saves the memory of a guest that stands still for it, and is to go on. */
  saving: 'saving.json',
} as const

export type MachineFolder = { readonly [K in keyof typeof FILES]: string } & { readonly id: string; readonly path: string }

export function machineFolder(stateDir: string, id: string): MachineFolder {
  const path = join(stateDir, 'machines', id)
  const files = Object.fromEntries(Object.entries(FILES).map(([key, name]) => [key, `${path}/${name}`])) as Record<
    keyof typeof FILES,
    string
  >
  return { id, path, ...files }
}

/** sockaddr_un.sun_path holds 108 bytes with its NUL (unix(7)). */
const LONGEST_SOCKET_PATH = 107
const LONGEST_ID = 12

/** @throws VMKitError `INVALID_CONFIG` naming `options.stateDir` when sockets in it would have too long a path */
export function checkStateDir(stateDir: string): void {
  const longest = machineFolder(stateDir, 'x'.repeat(LONGEST_ID)).console
  const excess = Buffer.byteLength(longest) - LONGEST_SOCKET_PATH
  if (excess > 0) {
    throw invalidConfig(
      'options.stateDir',
      `a path shorter by ${excess} bytes, because a UNIX socket's may have ${LONGEST_SOCKET_PATH}`,
      stateDir,
      {
        driver: DRIVER,
      },
    )
  }
}
