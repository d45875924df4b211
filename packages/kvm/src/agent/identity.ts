/** Makes a machine that woke from the memory of another one of its own: what the memory holds is changed before anybody uses it. */
import { randomBytes } from 'node:crypto'
import { VMKitError } from '@vmkit/core/driver'
import type { Records } from '../boot/run-spec.js'
import { DRIVER } from '../errors.js'
import type { Machine } from '../state/store.js'
import { guests } from './guests.js'
import { request } from './request.js'

export interface Identity {
  hostname: string
  /** Of NICs in order: what the memory believes, and what it is to be. */
  macs: readonly { from: string; to: string }[]
  /** What its interfaces are given then. */
  nics?: Records
}

/** Bytes of entropy that the guest's kernel is given; it mixes them in before it makes the next random number. */
const SEED = 64

/**
 * Host name, machine id, hardware addresses, clock and random seed.
 * @throws VMKitError `UNSUPPORTED` when the machine has no agent to do it; `GUEST_ERROR` when the guest does not
 */
export async function changeIdentity(machine: Machine, identity: Identity, signal: AbortSignal): Promise<void> {
  if (machine.boot.process === undefined) {
    throw new VMKitError(
      'UNSUPPORTED',
      'A clone that wakes from memory needs an agent in the guest, which gives it a name, addresses and randomness of its own',
      {
        driver: DRIVER,
        vmId: machine.id,
      },
    )
  }
  const own = guests()
  try {
    await own.use(machine, signal, (port) => request(port, identityRecords(identity), signal))
  } finally {
    own.close()
  }
}

function identityRecords({ hostname, macs, nics = [] }: Identity, now = Date.now(), seed: Uint8Array = randomBytes(SEED)): Records {
  return [
    ['op', 'identity'],
    ['hostname', hostname],
    // machine-id(5): 128 bits as 32 lower-case hexadecimal digits.
    ['machine-id', randomBytes(16).toString('hex')],
    ['epoch', String(now)],
    ['seed', Buffer.from(seed).toString('hex')],
    ...macs.map(({ from, to }) => ['mac', `${from},${to}`] as const),
    ...nics,
  ]
}
