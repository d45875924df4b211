/** `npm test`: everything this host can run, then what it could not. Arguments go to vitest. */
import { describeReports, freshFolder, readReports, unexplained } from './lib/reports.js'
import { runTests } from './lib/vitest.js'

const args = process.argv.slice(2)
const reports = await freshFolder('test')
const result = await runTests({ args, reports })
const engines = await readReports([reports])
console.log(describeReports(engines))
for (const name of unexplained(result.skippedTests, engines)) console.log(`  skipped: ${name}`)
console.log(`\n${result.passed} passed, ${result.failed} failed, ${result.skipped} skipped`)
process.exitCode = result.code
