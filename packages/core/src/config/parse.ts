import { randomBytes } from 'node:crypto'
import { configSchema, name as nameSchema } from './schema.js'
import type { MachineConfig, VMConfig } from './types.js'
import { validate } from './validate.js'

// Values below these fields may be secrets: messages tell their type only.
const SECRET_FIELDS: ReadonlySet<PropertyKey> = new Set(['env', 'cloudInit', 'driverOptions'])

function isSecret(path: readonly PropertyKey[]): boolean {
  return SECRET_FIELDS.has(path[0] as PropertyKey) || (path[0] === 'files' && path[2] === 'content')
}

/**
 * Checks a config and turns it into what drivers get: bytes, milliseconds, defaults, a name.
 * @throws VMKitError `INVALID_CONFIG` naming every bad field, what was expected and what came
 */
export function parseConfig(config: VMConfig): MachineConfig {
  const parsed = validate(configSchema, config, { root: 'config', isSecret })
  return { ...parsed, name: parsed.name ?? randomName() }
}

/** @throws VMKitError `INVALID_CONFIG` naming `field` */
export function parseName(value: unknown, field: string): string {
  return validate(nameSchema, value, { root: field })
}

function randomName(): string {
  return `vm-${randomBytes(6).toString('hex')}`
}
