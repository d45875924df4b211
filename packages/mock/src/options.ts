import { lazily, type VMDriver, validate } from '@vmkit/core/driver'
import * as z from '@vmkit/core/schema'
import { MockBackend, type MockBackendOptions, mockBackend } from './backend.js'
import type { capabilities } from './capabilities.js'

export interface MockOptions extends MockBackendOptions {
  /** Share the machines of another instance; the other options are then its. */
  backend?: MockBackend
  /** Capabilities to be without, each with the reason that callers get: for testing how an app takes refusals. */
  without?: Partial<Record<keyof typeof capabilities, string>>
}

export type MockDriver = VMDriver<typeof capabilities>

const latency = lazily(() => z.union([z.number(), z.strictObject({ min: z.number(), max: z.number() })]))
const schema = lazily(() =>
  z.strictObject({
    clock: z.optional(z.unknown()),
    latency: z.optional(z.union([latency(), z.record(z.string(), latency())])),
    seed: z.optional(z.number()),
    programs: z.optional(
      z.record(
        z.string(),
        z.custom((value) => typeof value === 'function', 'a function'),
      ),
    ),
    registry: z.optional(z.array(z.string())),
    backend: z.optional(z.instanceof(MockBackend)),
    without: z.optional(z.record(z.string(), z.string())),
  }),
)

/** @throws VMKitError `INVALID_CONFIG` naming the option */
export function readOptions(options: MockOptions): { backend: MockBackend; without: NonNullable<MockOptions['without']> } {
  validate(schema(), options, { root: 'options', driver: 'mock' })
  return { backend: options.backend ?? mockBackend(options), without: options.without ?? {} }
}
