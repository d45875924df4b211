/** Whether the memory of a task can be saved here: runc calls `criu`, which it finds on the PATH of the daemon. */
import { accessSync, constants, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs'
import { release } from 'node:os'
import { delimiter, join } from 'node:path'
import { runTool } from '../tool.js'

/** `criu check` asks the kernel for each feature, once. */
const CHECK_TIMEOUT_MS = 10_000

/** Why memory cannot be saved; `undefined` when it can. The kernel is asked once per program and kernel: `memo` keeps the answer. */
export async function criuMissing(socketPath: string, runtime: string, memo: string): Promise<string | undefined> {
  if (!/runc/.test(runtime)) return `only the runtime runc is known to save memory, and this one is ${runtime}`
  const path = daemonPath(socketPath)
  if (path === undefined) return 'it cannot be seen which programs containerd finds: its process is not visible to this one'
  const criu = findProgram('criu', path)
  if (criu === undefined) return 'CRIU is not on the PATH of containerd; the package is called criu'
  const { mtimeMs, size } = statSync(criu)
  const subject = `${criu} ${mtimeMs} ${size} ${release()}`
  const known = recall(memo, subject)
  if (known !== undefined) return known === '' ? undefined : known
  const reason = await check(criu)
  writeFileSync(memo, JSON.stringify({ subject, reason: reason ?? '' }), { mode: 0o600 })
  return reason
}

function recall(memo: string, subject: string): string | undefined {
  try {
    const kept = JSON.parse(readFileSync(memo, 'utf8')) as { subject: string; reason: string }
    return kept.subject === subject ? kept.reason : undefined
  } catch {
    return undefined
  }
}

async function check(criu: string): Promise<string | undefined> {
  const { code, stderr } = await runTool(criu, ['check'], { signal: AbortSignal.timeout(CHECK_TIMEOUT_MS) }).catch((error: unknown) => ({
    code: -1,
    stderr: String(error),
  }))
  if (code === 0) return undefined
  const said = stderr
    .split('\n')
    .find((line) => /Error|error/.test(line))
    ?.replace(/^\(\d+\.\d+\)\s*/, '')
  return `CRIU does not work on this kernel: ${said ?? `criu check ended with ${code}`}`
}

/** PATH of the process that listens on the socket. */
function daemonPath(socketPath: string): string | undefined {
  const inode = listenerInode(socketPath)
  if (inode === undefined) return undefined
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (!readFileSync(`/proc/${pid}/comm`, 'latin1').startsWith('containerd')) continue
      const holds = readdirSync(`/proc/${pid}/fd`).some((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`) === `socket:[${inode}]`)
      if (!holds) continue
      const variables = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0')
      return variables.find((each) => each.startsWith('PATH='))?.slice('PATH='.length) ?? ''
    } catch {
      // It ended, or belongs to somebody else.
    }
  }
  return undefined
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
