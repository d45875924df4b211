import { capabilityOfField } from '../capabilities.js'
import type { VMDriver } from '../driver.js'
import type { VMKitError } from '../errors.js'
import type { ConfigField, MachineConfig } from './types.js'

/** Fields that core itself or every driver honours. */
const UNIVERSAL: ReadonlySet<ConfigField> = new Set(['name', 'labels', 'ttl'])

/** The first field that was set although nothing here would honour it. `parsed` is what came of `given`. */
export function refusedField(
  given: Readonly<Record<string, unknown>>,
  parsed: MachineConfig,
  driver: Pick<VMDriver, 'fields' | 'name'>,
  unsupported: (capability: ReturnType<typeof capabilityOfField>, field: string) => VMKitError | undefined,
): VMKitError | undefined {
  for (const field of Object.keys(parsed) as ConfigField[]) {
    // What was not given is in `parsed` as a default, which asks for nothing.
    if (given[field] === undefined || UNIVERSAL.has(field) || driver.fields.includes(field)) continue
    const path = field === 'driverOptions' ? ownOption(parsed, driver.name) : isSet(parsed[field]) ? field : undefined
    const error = path === undefined ? undefined : unsupported(capabilityOfField(field), path)
    if (error) return error
  }
  return undefined
}

/** The first option meant for this driver; those of other drivers ask nothing of it. */
function ownOption({ driverOptions }: MachineConfig, name: string): string | undefined {
  const own = driverOptions[name]
  if (!isSet(own)) return undefined
  const [option] = typeof own === 'object' && own !== null ? Object.keys(own) : []
  return ['driverOptions', name, option].filter((part) => part !== undefined).join('.')
}

/** `tty: false` or `ports: []` asks for nothing, so no driver can fail to honour it. */
function isSet(value: unknown): boolean {
  if (value === undefined || value === false) return false
  if (Array.isArray(value)) return value.length > 0
  if (typeof value === 'object' && value !== null) return Object.keys(value).length > 0
  return true
}
