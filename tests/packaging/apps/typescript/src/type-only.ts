import { createManager, VMKitError } from '@vmkit/core'
// The compiler drops this import: `process` is known to the types and to nobody at run time.
import type {} from '@vmkit/process'

try {
  createManager().driver('process')
} catch (error) {
  if (!(error instanceof VMKitError)) throw error
  console.log(JSON.stringify({ code: error.code, hint: error.hint }))
}
