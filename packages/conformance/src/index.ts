/** The test suite that every vmkit driver must pass. */
export { conformance } from './conformance.js'
export { type Cannot, type ChildDriver, CONCERNS, type Concern, type ConformanceOptions, type Runner, type Workload } from './options.js'
export type { Report } from './report.js'
export { shellCommand } from './workloads.js'
