/** Whether the memory of a task can be saved here: runc calls `criu`, which it finds on the PATH of the daemon. */
import { accessSync, constants, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs'
import { release } from 'node:os'
import { delimiter, join } from 'node:path'
import { runTool } from '../tool.js'

/** `criu check` asks the kernel for each feature, once. */
const CHECK_TIMEOUT_MS = 10_000
/** In place of an exit code. */
const NOT_RUN = -1

export interface Criu {
  /** Why memory cannot be saved; absent when it can. */
  missing?: string
  version?: string
}

/** The kernel and the program are asked once for each daemon, program and kernel: `memo` keeps the answer. */
export async function findCriu(socketPath: string, runtime: string, memo: string): Promise<Criu> {
  if (!/runc/.test(runtime)) return { missing: `only the runtime runc is known to save memory, and this one is ${runtime}` }
  const inode = listenerInode(socketPath)
  const known = recall(memo)
  // A socket keeps its number while its daemon listens, and no other one has it until the next boot.
  const daemon = `${bootId()} ${inode}`
  const path = known?.daemon === daemon ? known.path : daemonPath(inode)
  if (path === undefined) return { missing: 'it cannot be seen which programs containerd finds: its process is not visible to this one' }
  const criu = findProgram('criu', path)
  if (criu === undefined) return { missing: 'CRIU is not on the PATH of containerd; the package is called criu' }
  const { mtimeMs, size } = statSync(criu)
  const subject = `${criu} ${mtimeMs} ${size} ${release()}`
  if (known?.daemon === daemon && known.subject === subject) return known.found
  const { found, isAnswer } = known?.subject === subject ? { found: known.found, isAnswer: true } : await check(criu)
  // A busy host may be too late to answer: it is asked again.
  if (isAnswer) writeFileSync(memo, JSON.stringify({ daemon, path, subject, found } satisfies Memo), { mode: 0o600 })
  return found
}

interface Memo {
  daemon: string
  path: string
  subject: string
  found: Criu
}

function recall(memo: string): Memo | undefined {
  try {
    const kept = JSON.parse(readFileSync(memo, 'utf8')) as Partial<Memo>
    return kept.found && (kept as Memo)
  } catch {
    return undefined
  }
}

const bootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()

async function check(criu: string): Promise<{ found: Criu; isAnswer: boolean }> {
  const run = (argument: string) =>
    runTool(criu, [argument], { signal: AbortSignal.timeout(CHECK_TIMEOUT_MS) }).catch((error: unknown) => ({
      code: NOT_RUN,
      stdout: '',
      stderr: String(error),
    }))
  const [{ code, stderr }, { stdout }] = await Promise.all([run('check'), run('--version')])
  const version = /Version:\s*(\S+)/.exec(stdout)?.[1]
  if (code === 0) return { found: { version }, isAnswer: true }
  const said = stderr
    .split('\n')
    .find((line) => /Error|error/.test(line))
    ?.replace(/^\(\d+\.\d+\)\s*/, '')
  const missing = `CRIU does not work on this kernel: ${said ?? `criu check ended with ${code}`}`
  return { found: { version, missing }, isAnswer: code !== NOT_RUN }
}

/** PATH of the process that listens on the socket. */
function daemonPath(inode: string | undefined): string | undefined {
  if (inode === undefined) return undefined
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (!readFileSync(`/proc/${pid}/comm`, 'latin1').startsWith('containerd')) continue
      if (!readdirSync(`/proc/${pid}/fd`).some((fd) => linkOf(`/proc/${pid}/fd/${fd}`) === `socket:[${inode}]`)) continue
      const variables = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0')
      return variables.find((each) => each.startsWith('PATH='))?.slice('PATH='.length) ?? ''
    } catch {
      // It ended, or belongs to somebody else.
    }
  }
  return undefined
}

/** A daemon at work closes descriptors while they are looked at. */
function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}

/** proc(5), net/unix: the flag __SO_ACCEPTCON marks the socket that listens. */
function listenerInode(socketPath: string): string | undefined {
  for (const line of readFileSync('/proc/net/unix', 'utf8').split('\n')) {
    const [, , , flags, , , inode, path] = line.trim().split(/\s+/)
    if (path === socketPath && flags === '00010000') return inode
  }
  return undefined
}

function findProgram(name: string, path: string): string | undefined {
  return path
    .split(delimiter)
    .map((folder) => join(folder || '/', name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}
