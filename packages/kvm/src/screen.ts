/** The screen: VNC on a UNIX socket in the machine's folder, and pictures of it. */
import { randomBytes } from 'node:crypto'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type CallContext, VMKitError, type VncEndpoint } from '@vmkit/core/driver'
import { DRIVER, invalidState } from './errors.js'
import { machineOptions } from './machine-options.js'
import type { Qmp } from './qmp/client.js'
import { command } from './qmp/command.js'
import { withLock } from './state/lock.js'
import { type Run, statusOf } from './state/run.js'
import type { Machine } from './state/store.js'

/** VNC compares no more than eight characters of a password (RFC 6143, 7.2.2). */
const PASSWORD_LENGTH = 8

export function hasScreen(machine: Pick<Machine, 'config'>): boolean {
  return Boolean(machineOptions(machine.config).screen)
}

function liveRun(machine: Machine, operation: string): Run {
  const { state, run } = statusOf(machine.folder)
  if (!run || (state !== 'running' && state !== 'paused')) throw invalidState(machine.id, operation, state)
  if (!hasScreen(machine)) {
    throw new VMKitError('UNSUPPORTED', 'This machine has no screen', {
      driver: DRIVER,
      capability: 'vnc',
      vmId: machine.id,
      hint: 'Create it with driverOptions.kvm.screen',
    })
  }
  return run
}

/** A password of its own for each run, kept in the run's file, which only the owner of the state folder reads. */
export async function setPassword(qmp: Qmp, machine: Machine): Promise<string | undefined> {
  const { screen } = machineOptions(machine.config)
  if (typeof screen !== 'object' || !screen.password) return undefined
  const password = randomBytes(PASSWORD_LENGTH).toString('base64url').slice(0, PASSWORD_LENGTH)
  await qmp.execute('set_password', { protocol: 'vnc', password })
  return password
}

export function vncEndpoint(machine: Machine): VncEndpoint {
  const { vncPassword } = liveRun(machine, 'reach the screen of')
  return { socketPath: machine.folder.vnc, ...(vncPassword === undefined ? {} : { password: vncPassword }) }
}

export async function screenshot(machine: Machine, ctx: CallContext): Promise<Uint8Array> {
  liveRun(machine, 'photograph')
  return withLock(machine, 'screenshot', ctx.signal, async (signal) => {
    const file = `screen.${randomBytes(4).toString('hex')}.png`
    const path = join(machine.folder.path, file)
    try {
      await command(machine, signal, (qmp) => qmp.execute('screendump', { filename: file, format: 'png' }))
      return await readFile(path)
    } finally {
      await rm(path, { force: true })
    }
  })
}
