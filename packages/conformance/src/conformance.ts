import { suites } from './concerns/index.js'
import { createKit } from './kit.js'
import { CONCERNS, type ConformanceOptions } from './options.js'
import type { Report } from './report.js'

const HOOK_LIMIT_MS = 120_000

/** As `conformance`, and gives the report, which is complete when the runner is done. */
export function conformanceOf(options: ConformanceOptions): Report {
  const { runner, patience = 1 } = options
  const kit = createKit(options)
  const { report } = kit
  runner.describe(`conformance of ${report.driver}${options.variant === undefined ? '' : ` (${options.variant})`}`, () => {
    runner.before(kit.open, HOOK_LIMIT_MS * patience)
    runner.after(kit.close, HOOK_LIMIT_MS * patience)
    runner.it('has its backend on this host', async () => {
      if (report.tested || process.env.VMKIT_REQUIRE_BACKENDS !== '1') return
      report.failed.push('backend')
      throw new Error(`VMKIT_REQUIRE_BACKENDS is set, and the ${report.driver} driver cannot work here: ${report.reason}`)
    })
    for (const concern of CONCERNS) kit.suite(concern, suites[concern])
  })
  return report
}
