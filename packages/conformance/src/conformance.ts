import { suites } from './concerns/index.js'
import { createKit } from './kit.js'
import { CONCERNS, type ConformanceOptions } from './options.js'
import type { Report } from './report.js'

/**
 * Defines all tests for one driver in the given runner. What runs is decided by the driver's manifest and by the probe of
 * this host; what does not run is printed with the reason, and written to `VMKIT_REPORT_DIR` when that is set.
 * Returns the report, which is complete when the runner is done.
 */
export function conformance(options: ConformanceOptions): Report {
  const { runner } = options
  const kit = createKit(options)
  const { report } = kit
  runner.describe(`conformance of ${report.driver}${options.variant === undefined ? '' : ` (${options.variant})`}`, () => {
    runner.before(kit.open)
    runner.after(kit.close)
    runner.it('has its backend on this host', async () => {
      if (report.tested || kit.failure !== undefined || process.env.VMKIT_REQUIRE_BACKENDS !== '1') return
      report.failed.push('backend')
      throw new Error(`VMKIT_REQUIRE_BACKENDS is set, and the ${report.driver} driver cannot work here: ${report.reason}`)
    })
    for (const concern of CONCERNS) kit.suite(concern, suites[concern])
  })
  return report
}
