/** `npm test`: everything this host can run, then what it could not. Arguments go to vitest. */
import { describeReports, freshFolder, readReports } from './lib/reports.js'
import { runTests } from './lib/vitest.js'

const args = process.argv.slice(2)
const reports = await freshFolder('test')
const result = await runTests({ args, reports })
console.log(describeReports(await readReports(reports)))
for (const name of result.skippedTests) console.log(`  skipped: ${name}`)
console.log(`\n${result.passed} passed, ${result.failed} failed, ${result.skipped} skipped`)
process.exitCode = result.code
