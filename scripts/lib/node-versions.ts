import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { run } from './run.js'

/** The majors that are tested beside the one that runs verify, which is the oldest. */
export const OTHER_NODES: readonly string[] = ['22', '24', '26']

/**
 * The path of a Node binary of this major, from npm's `node-<platform>-<arch>` package. It is installed outside the
 * repository: inside, it would shadow `node`.
 */
export async function installNode(major: string, log: string): Promise<string> {
  const cache = process.env.VMKIT_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'vmkit')
  const folder = join(cache, `node-${major}`)
  const name = `node-${process.platform}-${process.arch}`
  const binary = join(folder, 'node_modules', name, 'bin/node')
  if (existsSync(binary)) return binary
  await mkdir(folder, { recursive: true })
  // A lockfile would keep the registry's address; the cache needs none.
  const code = await run(['npm', 'install', '--prefix', folder, '--no-package-lock', '--no-audit', '--no-fund', `${name}@${major}`], {
    cwd: folder,
    log,
  })
  if (code !== 0) throw new Error(`Cannot install ${name}@${major}; see ${log}`)
  return binary
}
