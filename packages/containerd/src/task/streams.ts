/**
 * Where the main process writes: two plain files that the shim appends to. A `file://` URI would merge them, FIFOs would need
 * a reader that lives as long as the machine; a path without a scheme is opened by the shim as what it is.
 */
import { closeSync, existsSync, openSync } from 'node:fs'
import type { Host, Machine } from '../host.js'
import { runChecked } from '../tool.js'

export interface TaskStreams {
  stdin: string
  stdout: string
  stderr: string
}

export async function prepareStreams(_host: Host, { folder, record: { config } }: Machine): Promise<TaskStreams> {
  const paths = config.tty ? [folder.console] : [folder.stdout, folder.stderr]
  for (const path of paths) closeSync(openSync(path, 'a', 0o600))
  if (config.stdin && !existsSync(folder.stdin)) await runChecked('mkfifo', ['-m', '600', folder.stdin])
  return {
    stdin: config.stdin ? folder.stdin : '',
    stdout: paths[0] as string,
    stderr: config.tty ? '' : folder.stderr,
  }
}
