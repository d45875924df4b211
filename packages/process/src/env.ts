import { readFileSync } from 'node:fs'

/** What a process needs of its host to work at all; nothing else of the app's environment goes to a machine. */
const INHERITED = ['PATH', 'HOME', 'USER', 'LOGNAME', 'SHELL', 'LANG', 'TZ', 'TMPDIR', 'TERM'] as const
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** The environment of a machine's processes: the base from the host, then its own. */
export function machineEnv(own: Readonly<Record<string, string>>, host: NodeJS.ProcessEnv = process.env): Record<string, string> {
  const env: Record<string, string> = { PATH: DEFAULT_PATH }
  for (const [name, value] of Object.entries(host)) {
    if (value !== undefined && ((INHERITED as readonly string[]).includes(name) || name.startsWith('LC_'))) env[name] = value
  }
  return { ...env, ...own }
}

const SHELL_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/
// Read-only in bash, or set by a shell itself.
const SHELL_OWN: ReadonlySet<string> = new Set([
  'PPID',
  'UID',
  'EUID',
  'BASHOPTS',
  'SHELLOPTS',
  'BASH_VERSINFO',
  'PWD',
  'OLDPWD',
  'SHLVL',
  '_',
  'OPTIND',
  'LINENO',
])

/**
 * An environment as a file for the shell's `.`, so that it is neither in the shell's own environment nor in anybody's
 * argument list. `rest` are names that no shell can set: they go through env(1).
 */
export function envScript(env: Readonly<Record<string, string>>): { script: string; rest: string[] } {
  const lines: string[] = []
  const rest: string[] = []
  for (const [name, value] of Object.entries(env)) {
    if (SHELL_NAME.test(name) && !SHELL_OWN.has(name)) lines.push(`export ${name}=${quote(value)}\n`)
    else rest.push(`${name}=${value}`)
  }
  return { script: lines.join(''), rest }
}

/** One word for a POSIX shell. */
export function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

export interface Account {
  uid: number
  gid: number
  /** Name and home for its environment, where the system knows them. */
  name?: string
  home?: string
}

/** `name`, `uid`, either with `:group`, looked up in /etc/passwd and /etc/group; `undefined` for an unknown one. */
export function findAccount(user: string, passwd = readText('/etc/passwd'), groups = readText('/etc/group')): Account | undefined {
  const [who = '', groupName] = user.split(':')
  const entry = rows(passwd).find(([name, , uid]) => name === who || uid === who)
  if (!entry && !/^\d+$/.test(who)) return undefined
  const uid = entry ? Number(entry[2]) : Number(who)
  const group = groupName === undefined ? undefined : rows(groups).find(([name, , gid]) => name === groupName || gid === groupName)
  if (groupName !== undefined && !group && !/^\d+$/.test(groupName)) return undefined
  const gid = groupName !== undefined ? Number(group?.[2] ?? groupName) : entry ? Number(entry[3]) : uid
  return { uid, gid, ...(entry ? { name: entry[0], home: entry[5] } : {}) }
}

function rows(text: string): string[][] {
  return text
    .split('\n')
    .map((line) => line.split(':'))
    .filter((fields) => fields.length >= 3)
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
