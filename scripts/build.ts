/** Builds the workspaces with turbo; says little unless it fails. Arguments go to turbo, such as `--filter=tour...`. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freshFolder } from './lib/reports.js'
import { readLog, run } from './lib/run.js'

const started = performance.now()
const log = join(await freshFolder('build'), 'turbo.log')
process.stdout.write('building … ')
const turbo = fileURLToPath(import.meta.resolve('turbo/bin/turbo'))
const code = await run([process.execPath, turbo, 'run', 'build', '--output-logs=errors-only', ...process.argv.slice(2)], { log })
console.log(code === 0 ? `done in ${((performance.now() - started) / 1000).toFixed(1)} s` : `FAILED\n${await readLog(log)}`)
process.exitCode = code
