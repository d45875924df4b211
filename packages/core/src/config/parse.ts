import { invalidConfigFrom, typeOf } from '../errors.js'
import { configSchema } from './schema.js'
import type { MachineConfig, VMConfig } from './types.js'
import { unreadable, validate } from './validate.js'

// Values below these fields may be secrets: messages tell their type only.
const SECRET_FIELDS: ReadonlySet<PropertyKey> = new Set(['env', 'cloudInit', 'driverOptions'])

function isSecret(path: readonly PropertyKey[]): boolean {
  if (path.length === 0 || SECRET_FIELDS.has(path[0] as PropertyKey)) return true
  return path[0] === 'files' && path[2] !== 'path' && path[2] !== 'mode'
}

/**
 * Checks a config and turns it into what drivers get: bytes, milliseconds, defaults, a name.
 * @throws VMKitError `INVALID_CONFIG` naming every bad field, what was expected and what came
 */
export function parseConfig(config: VMConfig): MachineConfig {
  return parseGiven(config).parsed
}

/** The same, with the fields that were given: a getter is asked once only. */
export function parseGiven(config: VMConfig): { given: Readonly<Record<string, unknown>>; parsed: MachineConfig } {
  const given = copyOf(config)
  const parsed = validate(configSchema(), given, { root: 'config', isSecret })
  for (const [field, value] of Object.entries(parsed)) if (value === undefined) delete parsed[field as keyof typeof parsed]
  return { given, parsed: Object.assign(parsed, { name: parsed.name ?? randomName() }) }
}

function copyOf(config: VMConfig): Record<string, unknown> {
  const type = typeOf(config)
  if (type !== 'object') throw invalidConfigFrom([{ path: 'config', expected: 'an object', received: type }])
  try {
    return { ...config }
  } catch (error) {
    throw unreadable('config', error)
  }
}

function randomName(): string {
  // The global, which loads when it is used: importing node:crypto takes 8 ms.
  return `vm-${crypto.randomUUID().replaceAll('-', '').slice(0, 12)}`
}
