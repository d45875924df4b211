/** What the guest says of its memory, by its balloon driver: QEMU's docs/virtio-balloon-stats.txt. */
import type { Qmp } from './qmp/client.js'

export type GuestMemory = Record<'guestTotalBytes' | 'guestFreeBytes' | 'guestAvailableBytes' | 'guestUsedBytes', number | null>

interface BalloonStats {
  /** Seconds since 1970; 0 before the guest has told anything. */
  'last-update': number
  stats: Record<string, number>
}

const BALLOON = { path: '/machine/peripheral/balloon' }
const POLL_SECONDS = 2
/** Figures are unsigned 64-bit numbers, and this one stands for "not told". */
const UNTOLD = 2 ** 64

/** All `null` without a balloon, and until the guest has answered: QEMU asks it every two seconds from the first reading on. */
export async function guestMemory(qmp: Qmp): Promise<GuestMemory> {
  const told = await qmp.execute<BalloonStats>('qom-get', { ...BALLOON, property: 'guest-stats' }).catch(() => undefined)
  if (told?.['last-update'] === 0)
    await qmp.execute('qom-set', { ...BALLOON, property: 'guest-stats-polling-interval', value: POLL_SECONDS })
  const figure = (name: string): number | null => {
    const value = told?.['last-update'] ? told.stats[name] : undefined
    return value === undefined || value < 0 || value >= UNTOLD ? null : value
  }
  const [total, available] = [figure('stat-total-memory'), figure('stat-available-memory')]
  return {
    guestTotalBytes: total,
    guestFreeBytes: figure('stat-free-memory'),
    guestAvailableBytes: available,
    guestUsedBytes: total === null || available === null ? null : total - available,
  }
}
