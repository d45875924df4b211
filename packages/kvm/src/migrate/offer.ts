/** What the source tells the target of a machine, and the ticket by which it finds it. Plain JSON. */
import type { MachineConfig, MigrationTicket } from '@vmkit/core/driver'
import type { BootPlan, MachineSpec } from '../qemu/machine-spec.js'
import type { Address } from './wire.js'

export interface Ticket extends MigrationTicket {
  secret: string
  address: Address
  /** The target wants TLS on every connection. */
  tls: boolean
  config: MachineConfig
}

export interface Offer {
  boot: BootPlan
  macs: string[]
  createdAt: number
  /** Bytes of each disk that the machine writes to. */
  sizes: Record<string, number>
  live: boolean
  /** Only for a live one. */
  spec?: MachineSpec
}

/** Where the target's QEMU listens. */
export interface Listening {
  memory: string
  /** Absent when the disks are shared. */
  nbd?: Address
}
