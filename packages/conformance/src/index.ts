/** The test suite that every vmkit driver must pass. */
import { conformanceOf } from './conformance.js'
import type { ConformanceOptions } from './options.js'

export { CONCERNS, type Cannot, type ChildDriver, type Concern, type ConformanceOptions, type Runner, type Workload } from './options.js'
export type { Report } from './report.js'
export { shellCommand } from './workloads.js'

/**
 * Defines all tests for one driver in the given runner. What runs is decided by the driver's manifest and by the probe of
 * this host; what does not run is printed with the reason, and written to `VMKIT_REPORT_DIR` when that is set.
 */
export function conformance(options: ConformanceOptions): void {
  conformanceOf(options)
}
