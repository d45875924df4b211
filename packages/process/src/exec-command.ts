/** How a command beside main is spawned: as it is, or through a shell that joins the control group, changes the account, or
 * asks for a terminal. */

import { openSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TerminalSize } from '@vmkit/core/driver'
import { randomSuffix } from '@vmkit/core/state-folder'
import { type Account, envScript, quote } from './env.js'
import type { Host } from './host.js'
import { needTool } from './main-command.js'
import type { Machine } from './store.js'

export interface ExecPlan {
  program: string
  argv0: string
  args: readonly string[]
  env: Readonly<Record<string, string>>
  account?: Account
  groups: readonly string[]
  tty?: TerminalSize
}

export interface ExecCommandLine {
  file: string
  argv: string[]
  options: { env: NodeJS.ProcessEnv; argv0?: string; uid?: number; gid?: number }
  /** To be the child's file 3; closed by the caller. */
  input?: number
}

/** Where a terminal's shell tells that it has its first size. */
export const SIZED_FD = 4
const JOIN = 'for group in $1; do echo 0 >"$group/cgroup.procs" || exit 125; done; shift; exec "$@"'
const ENTER = '. /proc/self/fd/3; exec 3<&-; exec "$@"'

export function commandLine(host: Host, machine: Machine, plan: ExecPlan): ExecCommandLine {
  const { program, argv0, args, env, account, groups, tty } = plan
  if (groups.length === 0 && !tty) {
    return { file: program, argv: [...args], options: { env, argv0, ...(account ? { uid: account.uid, gid: account.gid } : {}) } }
  }
  // Shells drop variables they cannot name, and root's shell must not see those of somebody else: they come as file 3.
  const { script, rest } = envScript(env)
  const plain = [...(rest.length > 0 ? [needTool(host, 'env'), ...rest] : []), program, ...args]
  const become = account ? [needTool(host, 'setpriv'), `--reuid=${account.uid}`, `--regid=${account.gid}`, '--clear-groups', '--'] : []
  const entered = [...become, '/bin/sh', '-c', ENTER, 'sh', ...plain]
  const onTerminal = tty
    ? [
        needTool(host, 'script'),
        '-qefc',
        `stty rows ${tty.rows} cols ${tty.columns}; echo >&${SIZED_FD}; exec ${SIZED_FD}>&-; exec ${entered.map(quote).join(' ')}`,
        '/dev/null',
      ]
    : entered
  // The marker is all that is needed to find it before it has its own environment.
  const markers = Object.fromEntries(Object.entries(env).filter(([name]) => name.startsWith('VMKIT_PROCESS_')))
  return {
    file: '/bin/sh',
    argv: ['-c', JOIN, 'sh', groups.join(' '), ...onTerminal],
    options: { env: { PATH: '/usr/bin:/bin', ...markers } },
    input: passFile(machine, script, account),
  }
}

/** A file that is gone from its folder as soon as it is open. */
function passFile(machine: Machine, content: string, account: Account | undefined): number {
  const path = join(machine.folder, `exec.${randomSuffix()}`)
  writeFileSync(path, content, { mode: account ? 0o604 : 0o600 })
  try {
    return openSync(path, 'r')
  } finally {
    rmSync(path)
  }
}
