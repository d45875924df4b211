import { execFile } from 'node:child_process'
import { readlinkSync } from 'node:fs'
import { promisify } from 'node:util'
import { type TerminalSize, VMKitError } from '@vmkit/core/driver'
import { DRIVER, systemError } from './errors.js'
import type { Host } from './host.js'
import { needTool } from './main-command.js'

const run = promisify(execFile)

/** Sets the size of the terminal a process has as its stdin; the kernel then sends it SIGWINCH. */
export async function setTerminalSize(host: Host, target: { pid: number }, { columns, rows }: TerminalSize): Promise<void> {
  let device: string
  try {
    device = readlinkSync(`/proc/${target.pid}/fd/0`)
  } catch (error) {
    throw systemError(error, { operation: 'resize' })
  }
  if (!device.startsWith('/dev/pts/')) {
    throw new VMKitError('UNSUPPORTED', 'It has no terminal', { driver: DRIVER, operation: 'resize', hint: 'Create it with tty: true' })
  }
  await run(needTool(host, 'stty'), ['-F', device, 'rows', String(rows), 'cols', String(columns)])
}
