import { invalidConfig } from './errors.js'

// IEC 80000-13 binary prefixes, SI decimal prefixes. Bare `M` or `G` is refused: tools disagree on what it means.
const BYTE_UNITS: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
}

const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1e3, m: 6e4, h: 36e5, d: 864e5 }

const SIZE_EXPECTED = "a whole number of bytes or a size such as '512MiB' or '2GB'"
const DURATION_EXPECTED = "a number of milliseconds or a duration such as '500ms', '30s', '5m', '2h', '1d'"

/**
 * A size in bytes, from a number of bytes or a string with a unit (`'512MiB'`, `'1.5GiB'`, `'2GB'`).
 * @throws VMKitError `INVALID_CONFIG` naming `field`
 */
export function parseBytes(value: number | string, field = 'size'): number {
  const bytes = typeof value === 'number' ? value : withUnit(value, BYTE_UNITS)
  if (bytes === undefined || !Number.isSafeInteger(Math.round(bytes)) || bytes < 0) {
    throw invalidConfig(field, SIZE_EXPECTED, value)
  }
  if (typeof value === 'number' && !Number.isInteger(value)) throw invalidConfig(field, SIZE_EXPECTED, value)
  return Math.round(bytes)
}

/**
 * A duration in milliseconds, from a number of milliseconds or a string with a unit (`'500ms'`, `'30s'`, `'5m'`).
 * @throws VMKitError `INVALID_CONFIG` naming `field`
 */
export function parseDuration(value: number | string, field = 'duration'): number {
  const ms = typeof value === 'number' ? value : withUnit(value, DURATION_UNITS)
  if (ms === undefined || !Number.isFinite(ms) || ms < 0 || ms > Number.MAX_SAFE_INTEGER) {
    throw invalidConfig(field, DURATION_EXPECTED, value)
  }
  return ms
}

function withUnit(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const [, amount, unit] = (typeof text === 'string' && /^(\d+(?:\.\d+)?) ?([A-Za-z]+)$/.exec(text)) || []
  if (amount === undefined || unit === undefined || !Object.hasOwn(units, unit)) return undefined
  return Number(amount) * (units[unit] as number)
}
