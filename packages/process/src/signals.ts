import { constants } from 'node:os'
import { invalidConfig } from '@vmkit/core/driver'
import { DRIVER } from './errors.js'

// Node has no names for these (signal(7)).
const FIRST_REALTIME = 34

export function signalName(number: number): string | null {
  const name = Object.entries(constants.signals).find(([, value]) => value === number)?.[0]
  if (name !== undefined) return name
  if (number === FIRST_REALTIME) return 'SIGRTMIN'
  return number > FIRST_REALTIME && number <= 64 ? `SIGRTMIN+${number - FIRST_REALTIME}` : null
}

/** @throws VMKitError `INVALID_CONFIG` for a signal this system does not have */
export function signalNumber(name: string): number {
  const realtime = /^SIGRTMIN(?:\+(\d+))?$/.exec(name)
  if (realtime && Number(realtime[1] ?? 0) <= 30) return FIRST_REALTIME + Number(realtime[1] ?? 0)
  const number = Object.hasOwn(constants.signals, name) ? constants.signals[name as NodeJS.Signals] : undefined
  if (number === undefined) throw invalidConfig('signal', 'a signal of this system', name, { driver: DRIVER })
  return number
}
