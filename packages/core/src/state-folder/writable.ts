import { accessSync, constants, existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { VMKitError } from '../driver-kit.js'

/** Why the state folder cannot be made or written: of what exists of its path, the last folder must let us in. */
export function whyNotWritable(stateDir: string): VMKitError | undefined {
  if (!existsSync(stateDir) && dirname(stateDir) !== stateDir) return whyNotWritable(dirname(stateDir))
  try {
    accessSync(stateDir, constants.W_OK | constants.X_OK)
    return undefined
  } catch (cause) {
    return new VMKitError('PERMISSION_DENIED', `the state folder cannot be made or written: no right to write to ${stateDir}`, {
      field: 'options.stateDir',
      hint: 'Name a folder of this user with the option `stateDir`',
      cause,
    })
  }
}
