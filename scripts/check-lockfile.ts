/**
 * What `npm ci` needs of the lockfile on any machine: no registry host, and an entry for each optional dependency. npm
 * leaves out packages for other platforms when the registry it is run against does not have them, and `npm ci` then fails.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ROOT } from './lib/run.js'

interface Entry {
  resolved?: string
  optionalDependencies?: Record<string, string>
}

const lock = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8')) as { packages: Record<string, Entry> }
const entries = Object.entries(lock.packages)
const hosts = entries.filter(([, { resolved }]) => resolved !== undefined && /^\w+:/.test(resolved))
const absent = entries.flatMap(([path, { optionalDependencies = {} }]) =>
  Object.keys(optionalDependencies).filter(
    (name) => !lock.packages[`node_modules/${name}`] && !lock.packages[`${path}/node_modules/${name}`],
  ),
)
for (const [name, { resolved }] of hosts) console.error(`${name} is resolved to ${resolved}; see .npmrc`)
for (const name of absent) console.error(`${name} is an optional dependency without an entry`)
if (hosts.length + absent.length > 0) process.exitCode = 1
