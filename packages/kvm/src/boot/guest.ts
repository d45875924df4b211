/** The vmkit guest on this host: built once by `guest/build.sh`, then shared by all machines. */
import { copyFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { VMKitError } from '@vmkit/core/driver'
import { errno } from '@vmkit/core/state-folder'
import { execa } from 'execa'
import { DRIVER } from '../errors.js'
import type { ResolvedOptions } from '../options.js'
import type { MachineFolder } from '../state/machine-folder.js'
import { guestsFolder, isGuestThere, ownKernel, pruneGuests } from './guest-cache.js'

type CacheOptions = Pick<ResolvedOptions, 'cacheDir' | 'cacheKeepDays'>

/** Which of Debian's kernels: `general` boots slower, and can mount folders of the host. */
export type GuestFlavour = 'cloud' | 'general'

export interface Guest {
  kernel: string
  /** The same as UEFI starts it. */
  uefiKernel: string
  initramfs: string
}

/** Arguments of the guest's kernel. Each saves time in every boot; none changes what a program sees. */
export const GUEST_CMDLINE = [
  'console=ttyS0',
  'quiet',
  // Without ACPI, a triple fault is the one way off; a panic ends the machine at once.
  'reboot=t',
  'panic=-1',
  // QEMU's clocks need no calibration against each other.
  'tsc=reliable',
  'no_timer_check',
  // Self-tests of ciphers took 0.9 s of 4 s under TCG, the others listed 0.5 s.
  'cryptomgr.notests',
  'initcall_blacklist=init_kprobe_trace,trace_eval_init,load_system_certificate_list,crypto_kdf108_init,init_encrypted,init_trace_printk_function_export',
].join(' ')

const built = new Map<string, Promise<Guest>>()

/**
 * Builds it when it is missing or of another version; that takes 10 s and a Debian host, once.
 * @throws VMKitError `UNSUPPORTED` with what is missing
 */
export async function ensureGuest(options: CacheOptions, flavour: GuestFlavour = 'cloud'): Promise<Guest> {
  const { cacheDir } = options
  const key = `${flavour} ${cacheDir}`
  const known = built.get(key)
  if (known && (await isGuestThere(dirname((await known).kernel)))) return known
  // Another caller may have missed it, too.
  const other = built.get(key)
  if (other && other !== known) return other
  const guest = build(guestsFolder(cacheDir), flavour)
  built.set(key, guest)
  // The next caller may find what was missing.
  guest.catch(() => built.delete(key))
  const found = await guest
  await isGuestThere(dirname(found.kernel))
  // A kernel that cannot be removed is no reason to fail.
  await pruneGuests(options).catch(() => {})
  return found
}

/**
 * The guest with a kernel of the machine's own, whose path this gives. One that went from the cache since it was found is looked for
 * once more.
 */
export async function placeGuest(options: CacheOptions, flavour: GuestFlavour, uefi: boolean, folder: MachineFolder): Promise<string> {
  const place = async (): Promise<string> => {
    const guest = await ensureGuest(options, flavour)
    await copyFile(guest.initramfs, folder.initrd)
    return ownKernel(uefi ? guest.uefiKernel : guest.kernel, folder)
  }
  return place().catch((error: unknown) => {
    if (errno(error) !== 'ENOENT') throw error
    return place()
  })
}

async function build(folder: string, flavour: GuestFlavour): Promise<Guest> {
  const script = join(dirname(createRequire(import.meta.url).resolve('@vmkit/kvm/package.json')), 'guest', 'build.sh')
  try {
    const { stdout } = await execa('bash', [script, folder, flavour], { stdin: 'ignore' })
    const path = stdout.trim()
    return { kernel: join(path, 'vmlinux'), uefiKernel: join(path, 'vmlinuz'), initramfs: join(path, 'initramfs.cpio') }
  } catch (error) {
    const reason = error instanceof Error && 'stderr' in error ? String(error.stderr).trim().split('\n').at(-1) : messageOf(error)
    throw new VMKitError(
      'UNSUPPORTED',
      `The vmkit guest, with which images and root file systems boot, cannot be built in ${folder}: ${reason}`,
      {
        driver: DRIVER,
        operation: 'create',
        hint: 'Build it on a Debian host by guest/build.sh of @vmkit/kvm and copy the folder there, or boot a disk or a kernel of your own',
        cause: error,
      },
    )
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
