/** What a vmkit guest of named networks boots from, made at each start: its initramfs, its addresses, and the machines that run now. */
import { readFile, rm, writeFile } from 'node:fs/promises'
import { cpioArchive } from '../boot/cpio.js'
import { lastRecords } from '../boot/rename-initrd.js'
import { encodeRecords, type Records } from '../boot/run-spec.js'
import type { Host } from '../host.js'
import type { MachineSpec } from '../qemu/machine-spec.js'
import { FILES } from '../state/machine-folder.js'
import type { Machine } from '../state/store.js'
import { type Attachment, MASK } from './address.js'
import { bootHosts, withMachines } from './hosts-file.js'
import { machinesNear } from './names.js'

/** Behind all files of a config. */
const HOSTS_INDEX = 1_000_000

/** The spec with what it boots from; the same where there is nothing to add. */
export async function withStartInitrd(host: Host, machine: Machine, spec: MachineSpec): Promise<MachineSpec> {
  const { attachments = [], boot, folder } = machine
  if (attachments.length === 0 || boot.process === undefined || !spec.kernel) return spec
  const initrd = await readFile(folder.initrd)
  const records = startRecords(lastRecords(initrd), machine.macs[0], attachments)
  const hosts = Buffer.from(withMachines(bootHosts(machine.name), machinesNear(host, machine)))
  const archive = cpioArchive([
    { name: 'spec', content: encodeRecords(records) },
    { name: `files/${HOSTS_INDEX}`, content: hosts },
  ])
  await rm(folder.startInitrd, { force: true })
  await writeFile(folder.startInitrd, Buffer.concat([initrd, archive]), { mode: 0o600, flag: 'wx' })
  return { ...spec, kernel: { ...spec.kernel, initrd: FILES.startInitrd } }
}

/** Several NICs are told by their hardware addresses: not every machine type numbers them alike. */
export function startRecords(records: Records, mac: string | undefined, attachments: readonly Attachment[]): Records {
  const own = records.map(([key, value]) =>
    key === 'nic' && mac !== undefined ? ([key, value.replace(/^[^,]*/, mac)] as const) : ([key, value] as const),
  )
  return [
    // Before the config's own files, of which one may be the same.
    ['file', `644:${HOSTS_INDEX}:/etc/hosts`],
    ...own,
    ...nicRecords(attachments),
  ]
}

/** Without a way outside: that is another network's. */
export function nicRecords(attachments: readonly Attachment[]): Records {
  return attachments.map(({ mac, address }) => ['nic', `${mac},${address},${MASK},`] as const)
}
