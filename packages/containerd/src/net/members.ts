/**
 * Machines of one network find each other by name and alias: their `/etc/hosts` is a file of this host, written anew in place
 * when somebody joins or leaves. The bridge plugin has no name server.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Host } from '../host.js'

export interface Member {
  uid: string
  address: string
  names: readonly string[]
  /** Its hosts file. */
  hosts: string
}

const BEGIN = '# vmkit: machines of the same networks'

const folderOf = (host: Host, network: string): string => join(host.options.stateDir, 'members', encodeURIComponent(network))

export function joinMember(host: Host, network: string, member: Member): void {
  const folder = folderOf(host, network)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  writeFileSync(join(folder, member.uid), JSON.stringify(member), { mode: 0o600 })
  for (const { hosts } of membersOf(folder)) rewrite(host, hosts)
}

export function forgetMember(host: Host, network: string, uid: string): void {
  const folder = folderOf(host, network)
  rmSync(join(folder, uid), { force: true })
  const left = membersOf(folder)
  for (const { hosts } of left) rewrite(host, hosts)
  if (left.length === 0) rmSync(folder, { recursive: true, force: true })
}

/** Whether a machine is in the network now. */
export function hasMembers(host: Host, network: string): boolean {
  return membersOf(folderOf(host, network)).length > 0
}

function membersOf(folder: string): Member[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder).flatMap((uid) => {
    try {
      return [JSON.parse(readFileSync(join(folder, uid), 'utf8')) as Member]
    } catch {
      return []
    }
  })
}

/** In place: a bind mount shows the file, not its name. */
function rewrite(host: Host, hosts: string): void {
  if (!existsSync(hosts)) return
  const parent = join(host.options.stateDir, 'members')
  const networks = readdirSync(parent).map((network) => membersOf(join(parent, network)))
  const lines = networks
    .filter((members) => members.some((member) => member.hosts === hosts))
    .flatMap((members) => members.map(({ address, names }) => `${address}\t${names.join(' ')}`))
  const [own = ''] = readFileSync(hosts, 'utf8').split(BEGIN)
  writeFileSync(hosts, `${own.trimEnd()}\n${BEGIN}\n${[...new Set(lines)].join('\n')}\n`)
}
