/** The lockfile names no registry host, so that `npm ci` uses whichever registry is configured. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ROOT } from './lib/run.js'

const lock = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8')) as { packages: Record<string, { resolved?: string }> }
const hosts = Object.entries(lock.packages).filter(([, { resolved }]) => resolved !== undefined && /^\w+:/.test(resolved))
for (const [name, { resolved }] of hosts) console.error(`${name} is resolved to ${resolved}`)
if (hosts.length > 0) {
  console.error('Set omit-lockfile-registry-resolved=true (see .npmrc) and run npm install')
  process.exitCode = 1
}
