/** What the supervisor runs: the program with its environment, account and terminal, as arguments and a file for the shell. */
import { join } from 'node:path'
import { invalidConfig, type MachineConfig, VMKitError } from '@vmkit/core/driver'
import { findProgram } from './command.js'
import { type Account, envScript, findAccount, machineEnv, quote } from './env.js'
import { DRIVER, unsupportedField } from './errors.js'
import type { Host, Tool } from './host.js'
import type { Machine } from './store.js'
import { JOURNAL } from './supervisor.js'
import { MARKER } from './tree.js'

export interface MainCommand {
  command: string[]
  /** Sourced by the shell that makes main; by one of the account itself, where there is one. */
  script: string
  /** Main writes down itself who it is. */
  records: boolean
  /** Somebody else than the app. */
  account?: Account
}

export function workdirOf(machine: Machine): string {
  return machine.config.workdir ?? join(machine.folder, 'root')
}

export function environmentOf(machine: Machine, account = accountOf(machine.config)): Record<string, string> {
  const own: Record<string, string> =
    account?.name === undefined ? {} : { USER: account.name, LOGNAME: account.name, HOME: account.home ?? '/' }
  return { ...machineEnv({ ...own, ...machine.config.env }), [MARKER]: machine.id }
}

/** The account of `user`; `undefined` when it is nobody else than the app itself. @throws VMKitError naming the field */
export function accountOf({ user }: Pick<MachineConfig, 'user'>, field = 'config.user'): Account | undefined {
  if (user === undefined) return undefined
  const account = findAccount(user)
  if (!account) throw invalidConfig(field, 'a user and group that this host knows', user, { driver: DRIVER })
  if (account.uid === process.geteuid?.() && account.gid === process.getegid?.()) return undefined
  if (process.geteuid?.() !== 0) throw unsupportedField(field, 'only root can run a process as somebody else')
  return account
}

export function mainCommand(host: Host, machine: Machine, number: number): MainCommand {
  const { config } = machine
  const account = accountOf(config)
  const env = environmentOf(machine, account)
  const [name = '', ...args] = [...(config.command ?? []), ...(config.args ?? [])]
  const program = findProgram(name, { path: env.PATH ?? '', workdir: workdirOf(machine), operation: 'start', field: 'config.command.0' })
  const { script, rest } = envScript(env)
  const plain = [...(rest.length > 0 ? [needTool(host, 'env'), ...rest] : []), program, ...args]
  const own = account ? becoming(host, account, plain) : plain
  if (!config.tty) return { command: own, script, records: false, account }
  const command = [needTool(host, 'script'), '-qefc', recorded(machine, number, own, account ? undefined : (env.SHELL ?? '')), '/dev/null']
  return { command, script: account ? script : `${script}export SHELL=/bin/sh\n`, records: true, account }
}

/**
 * The shell that reads the environment belongs to the account already: nothing in it can reach a program that runs as root.
 * It comes as an open file, because the account need not be able to get to the machine's folder.
 */
function becoming(host: Host, { uid, gid }: Account, command: readonly string[]): string[] {
  const setpriv = [needTool(host, 'setpriv'), `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--']
  return [...setpriv, '/bin/sh', '-c', '. /proc/self/fd/9; exec 9<&-; exec "$@"', 'sh', ...command]
}

/** script(1) wants one text for a shell. Main is what that shell becomes; script itself only carries its terminal. */
function recorded(machine: Machine, number: number, command: readonly string[], shell: string | undefined): string {
  const journal = quote(join(machine.folder, '..', '..', '..', JOURNAL))
  const tell = `echo started ${machine.id} ${number} >>${journal}`
  const record = `read -r self </proc/self/stat; ${tell}; echo "$self" >${quote(join(machine.folder, `main.${number}`))}`
  const restore = shell === undefined ? ':' : shell === '' ? 'unset SHELL' : `SHELL=${quote(shell)}`
  // The size comes before the word that it runs: whoever resizes it then has the last word.
  return `stty rows 24 cols 80; ${record}; ${restore}; exec ${command.map(quote).join(' ')}`
}

export function needTool(host: Host, name: Tool): string {
  const path = host.tool(name)
  if (path === undefined) throw new VMKitError('BACKEND_UNAVAILABLE', `This host has no \`${name}\``, { driver: DRIVER })
  return path
}
