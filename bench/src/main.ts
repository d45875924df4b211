/** `npm run bench -- [suite …] [--only text] [--quick] [--gate]`: see bench/README.md. */
import { readdir } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { compare } from './compare.js'
import { describeSuite, isOver, type SuiteReport, summary } from './report.js'
import { saveResults, thisMachine } from './results.js'
import type { Suite } from './suite.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    gate: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
  },
})
const { quick, gate, only } = values
const known = (await readdir(new URL('suites/', import.meta.url))).map((file) => file.replace(/\.ts$/, '')).sort()
const unknown = positionals.filter((name) => !known.includes(name))
if (unknown.length > 0) {
  console.error(`No suite ${unknown.join(', ')}; there are: ${known.join(', ')}`)
  process.exit(2)
}

if (quick && gate) {
  console.error('--quick measures too little for --gate')
  process.exit(2)
}

const date = new Date()
const machine = thisMachine()
console.log(
  `Node ${process.version}, ${machine.cpus} × ${machine.cpu}, load ${machine.load.toFixed(2)}${quick ? ', quick: it runs, the numbers mean nothing' : ''}\n`,
)
const suites: SuiteReport[] = []
for (const name of positionals.length > 0 ? positionals : known) {
  const report = await runSuite(name)
  suites.push(report)
  console.log(`${describeSuite(report)}\n`)
}
console.log(summary(suites))
console.log(`stored in ${await saveResults({ date, machine, quick, suites })}, ${Math.round((Date.now() - date.getTime()) / 1000)} s`)
if (gate && isOver(suites)) process.exitCode = 1

async function runSuite(name: string): Promise<SuiteReport> {
  const report: SuiteReport = { suite: name, rows: [], omitted: [] }
  const { suite } = (await import(`./suites/${name}.js`)) as { suite: Suite }
  const skipped = await suite.unavailable?.()
  if (skipped !== undefined) return { ...report, skipped }
  for await (const item of suite.comparisons({ quick })) {
    if (!item.what.includes(only)) continue
    if ('omitted' in item) {
      report.omitted.push({ what: item.what, reason: item.omitted })
      continue
    }
    progress(`${name}: ${item.what}`)
    report.rows.push(await compare(item, quick))
  }
  progress('')
  return report
}

/** One line that is written over, where a person watches. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`)
}
