import { capabilityOfField } from '../capabilities.js'
import type { VMDriver } from '../driver.js'
import type { VMKitError } from '../errors.js'
import type { ConfigField, MachineConfig } from './types.js'

/** Fields that core itself or every driver honours. */
const UNIVERSAL: ReadonlySet<ConfigField> = new Set(['name', 'labels', 'ttl', 'driverOptions'])

/** The first field that was set although nothing here would honour it. `parsed` is what came of `given`. */
export function refusedField(
  given: Readonly<Record<string, unknown>>,
  parsed: MachineConfig,
  driver: Pick<VMDriver, 'fields'>,
  unsupported: (capability: ReturnType<typeof capabilityOfField>, field: ConfigField) => VMKitError | undefined,
): VMKitError | undefined {
  for (const field of Object.keys(parsed) as ConfigField[]) {
    // What was not given is in `parsed` as a default, which asks for nothing.
    if (given[field] === undefined || !isSet(parsed[field]) || UNIVERSAL.has(field) || driver.fields.includes(field)) continue
    const error = unsupported(capabilityOfField(field), field)
    if (error) return error
  }
  return undefined
}

/** `tty: false` or `ports: []` asks for nothing, so no driver can fail to honour it. */
function isSet(value: unknown): boolean {
  if (value === undefined || value === false) return false
  if (Array.isArray(value)) return value.length > 0
  if (typeof value === 'object' && value !== null) return Object.keys(value).length > 0
  return true
}
