import { invalidConfig } from '@vmkit/core/driver'
import type { SpecUser } from './types.js'

/** The contents of a rootfs' `/etc/passwd` and `/etc/group`; empty where there is none. */
export interface Accounts {
  passwd: string
  group: string
}

export interface ResolvedUser extends SpecUser {
  /** Home folder; `/` when the account names none. */
  home: string
}

interface Account {
  name: string
  uid: number
  gid: number
  home: string
}

const LARGEST_ID = 2 ** 32 - 2
const ROOT: ResolvedUser = { uid: 0, gid: 0, home: '/root' }

/** Whether the accounts of the rootfs must be looked at: root's are the same everywhere. */
export function needsAccounts(user: string | undefined): boolean {
  return user !== undefined && user !== '' && user !== '0' && user !== 'root' && user !== '0:0' && user !== 'root:root'
}

/**
 * `name`, `uid`, `name:group`, `uid:gid` as the OCI image specification has them. A name must be there, a number need not be.
 * @throws VMKitError `INVALID_CONFIG` naming `field`
 */
export function resolveUser(user: string | undefined, accounts: Accounts, field: string): ResolvedUser {
  if (!needsAccounts(user)) return ROOT
  const [who = '', groupName, ...rest] = (user as string).split(':')
  if (rest.length > 0) throw invalidConfig(field, '`user` or `user:group`', user)
  const account = findAccount(who, accounts.passwd)
  if (!account && !isId(who)) throw invalidConfig(field, 'a user of the image, or a number', user)
  const uid = account?.uid ?? Number(who || 0)
  const gid = groupName === undefined ? (account?.gid ?? 0) : groupId(groupName, accounts.group, field, user as string)
  const additionalGids = account && groupName === undefined ? groupsOf(account, accounts.group) : []
  return { uid, gid, ...(additionalGids.length > 0 ? { additionalGids } : {}), home: account?.home || '/' }
}

function isId(text: string): boolean {
  return /^\d{1,10}$/.test(text) && Number(text) <= LARGEST_ID
}

function findAccount(who: string, passwd: string): Account | undefined {
  for (const line of passwd.split('\n')) {
    const [name = '', , uid = '', gid = '', , home = ''] = line.split(':')
    if (isId(uid) && isId(gid) && (name === who || uid === who)) return { name, uid: Number(uid), gid: Number(gid), home }
  }
  return undefined
}

function groupId(wanted: string, group: string, field: string, user: string): number {
  if (isId(wanted)) return Number(wanted)
  for (const line of group.split('\n')) {
    const [name, , gid = ''] = line.split(':')
    if (name === wanted && isId(gid)) return Number(gid)
  }
  throw invalidConfig(field, 'a group of the image, or a number', user)
}

/** The groups that name the account as a member. */
function groupsOf({ name, gid }: Account, group: string): number[] {
  const found = group.split('\n').flatMap((line) => {
    const [, , id = '', members = ''] = line.split(':')
    return isId(id) && members.split(',').includes(name) ? [Number(id)] : []
  })
  return [...new Set(found)].filter((id) => id !== gid)
}
