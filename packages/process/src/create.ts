import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type CallContext, invalidConfig, type MachineConfig, type MachineRef } from '@vmkit/core/driver'
import { DRIVER, systemError, unsupportedField } from './errors.js'
import { record } from './events.js'
import type { Host } from './host.js'
import { checkLimits, needsCgroup } from './limits.js'
import { accountOf, needTool } from './main-command.js'
import { refusePortMappings } from './ports.js'
import { signalNumber } from './signals.js'
import { newId } from './store.js'

/** All checks come first; then the machine is built out of sight and appears as a whole. */
export async function create(host: Host, config: MachineConfig, ctx: CallContext): Promise<MachineRef> {
  if (!config.command) throw invalidConfig('config.command', 'a program to run', undefined, { driver: DRIVER, operation: 'create' })
  refusePortMappings(config.ports)
  const account = accountOf(config)
  if (account && !host.tool('setpriv')) throw unsupportedField('config.user', 'this host has no setpriv (util-linux)')
  if (config.tty && !host.tool('script'))
    throw unsupportedField('config.tty', 'this host has no script (util-linux), which makes a terminal')
  if (config.stdin && !host.tool('mkfifo')) throw unsupportedField('config.stdin', 'this host has no mkfifo')
  if (needsCgroup({ config })) checkLimits(config, host.cgroups().missing, 'create')
  if (config.stop.signal !== undefined) signalNumber(config.stop.signal)
  host.store.cleanUp()
  const id = newId(config.name)
  await host.store.add({ id, name: config.name, createdAt: Date.now(), config }, async (folder) => {
    const root = join(folder, 'root')
    if (config.workdir === undefined) mkdirSync(root, { mode: 0o755 })
    if (config.stdin) makeFifo(host, join(folder, 'stdin'))
    if (config.files.length > 0) {
      const { placeFiles } = await import('./files.js')
      await placeFiles(config.workdir ?? root, config.files, ctx)
    }
    if (account) letIn(folder, config.workdir === undefined ? root : undefined, account)
    ctx.signal.throwIfAborted()
  })
  record(host.options.stateDir, 'created', id)
  return { id }
}

function makeFifo(host: Host, path: string): void {
  try {
    execFileSync(needTool(host, 'mkfifo'), ['-m', '600', path], { stdio: 'pipe' })
  } catch (error) {
    throw systemError(error, { operation: 'create' })
  }
}

/** Another account gets its working folder, and the right to pass through ours, not to look around. */
function letIn(folder: string, root: string | undefined, { uid, gid }: { uid: number; gid: number }): void {
  chmodSync(folder, 0o711)
  chmodSync(join(folder, '..'), 0o711)
  if (root) chownSync(root, uid, gid)
}
