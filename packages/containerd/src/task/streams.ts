/**
 * Where the main process writes: two plain files that the shim appends to. A `file://` URI would merge them, FIFOs would need
 * a reader that lives as long as the machine; a path without a scheme is opened by the shim as what it is.
 */
import { closeSync, existsSync, openSync, rmSync } from 'node:fs'
import type { Host, Machine } from '../host.js'
import { loggerUri } from '../logs/logger.js'
import type { MachineFolder } from '../state-dir.js'
import { runChecked } from '../tool.js'

export interface TaskStreams {
  stdin: string
  stdout: string
  stderr: string
}

export async function prepareStreams({ options, variation }: Host, { folder, record: { config, stamped } }: Machine): Promise<TaskStreams> {
  if (stamped) {
    const uri = loggerUri(options.stateDir, { file: folder.log, cap: options.logs.maxBytes, tty: config.tty })
    return { stdin: await stdinOf(folder, config.stdin), stdout: uri, stderr: config.tty ? '' : uri }
  }
  const paths = config.tty ? [folder.console] : [folder.stdout, folder.stderr]
  for (const path of paths) {
    // A shim that writes from the start of the file would leave the end of the run before behind its own words.
    if (variation.overwritesLogs) rmSync(`${path}.floor`, { force: true })
    closeSync(openSync(path, variation.overwritesLogs ? 'w' : 'a', 0o600))
  }
  return { stdin: await stdinOf(folder, config.stdin), stdout: paths[0] as string, stderr: config.tty ? '' : folder.stderr }
}

async function stdinOf({ stdin }: MachineFolder, wanted: boolean): Promise<string> {
  if (wanted && !existsSync(stdin)) await runChecked('mkfifo', ['-m', '600', stdin])
  return wanted ? stdin : ''
}
