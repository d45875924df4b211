import { execFile } from 'node:child_process'
import { access, constants, readdir, readFile, readlink, realpath } from 'node:fs/promises'
import { join } from 'node:path'

const CHECK_TIMEOUT_MS = 5000

/**
 * Why the dockerd behind a socket of this host can save no memory; `undefined` when it can, or when nobody can tell from here.
 * CRIU is looked for on the PATH of that process, and asked whether it works with this kernel.
 */
export async function criuProblem(socketPath: string): Promise<string | undefined> {
  const pid = await dockerdOf(socketPath)
  const path = pid === undefined ? undefined : await pathOf(pid)
  if (path === undefined) return undefined
  const criu = await programOn(path, 'criu')
  if (criu === undefined) return 'CRIU is not on the PATH of dockerd'
  const said = await check(criu)
  if (said === undefined) return undefined
  return `CRIU does not work with this kernel, it may be too old: \`${criu} check\` says ${said}`
}

/** The process that has the socket, when it is a dockerd that this user may look at. */
async function dockerdOf(socketPath: string): Promise<string | undefined> {
  const path = await realpath(socketPath).catch(() => socketPath)
  for (const pid of await readdir('/proc').catch(() => [])) {
    if (!/^\d+$/.test(pid) || (await readText(`/proc/${pid}/comm`))?.trim() !== 'dockerd') continue
    // Lines end with the inode and the path (proc(5), /proc/net/unix).
    const inodes = ((await readText(`/proc/${pid}/net/unix`)) ?? '')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter((columns) => columns[7] === path || columns[7] === socketPath)
      .map((columns) => `socket:[${columns[6]}]`)
    const files = await readdir(`/proc/${pid}/fd`).catch(() => [])
    const targets = await Promise.all(files.map((file) => readlink(`/proc/${pid}/fd/${file}`).catch(() => '')))
    if (targets.some((target) => inodes.includes(target))) return pid
  }
  return undefined
}

async function pathOf(pid: string): Promise<string | undefined> {
  const variables = (await readText(`/proc/${pid}/environ`))?.split('\0')
  return variables?.find((variable) => variable.startsWith('PATH='))?.slice('PATH='.length)
}

async function programOn(path: string, name: string): Promise<string | undefined> {
  for (const folder of path.split(':')) {
    const file = join(folder, name)
    const isThere = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (folder !== '' && isThere) return file
  }
  return undefined
}

/** What it says when it does not work. It needs root, as dockerd has it; for others nobody can tell. */
function check(criu: string): Promise<string | undefined> {
  if (process.geteuid?.() !== 0) return Promise.resolve(undefined)
  return new Promise((resolve) => {
    execFile(criu, ['check'], { timeout: CHECK_TIMEOUT_MS }, (error, _stdout, stderr) => {
      const [line] = stderr.split('\n').filter((text) => text.startsWith('Error'))
      resolve(error ? (line ?? error.message) : undefined)
    })
  })
}

function readText(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(() => undefined)
}
