/** Who pulls: containerd's Transfer service, or our own client. */
import { type CallContext, VMKitError } from '@vmkit/core/driver'
import type { Plugin } from '../../grpc/generated/introspection_pb.js'
import type { ImageAccess } from '../access.js'

export interface Puller {
  by: 'client' | 'transfer'
  /** In a few words, for a person. */
  why: string
}

export const explain = ({ by, why }: Puller): string =>
  `${by === 'transfer' ? "by containerd's Transfer service" : 'by our own client'}: ${why}`

export interface Daemon {
  /** As it says: `v2.1.9`, `1.6.20~ds1`. */
  version: string
  plugins: readonly Pick<Plugin, 'type' | 'id' | 'initErr'>[]
  /** That images are unpacked for. */
  snapshotter: string
}

/** The first whose service can be told to speak plain HTTP (pull request 10024 of containerd); 1.7 cannot (its issue 8564). */
const FIRST_MAJOR = 2
/** The one that the service unpacks for where its `unpack_config` says nothing else, which cannot be asked. */
const UNPACKED = 'overlayfs'

/** All that a transfer takes: the service itself, what carries it out, and the streams for its progress and its questions. */
const NEEDED = [
  ['io.containerd.grpc.v1', 'transfer'],
  ['io.containerd.transfer.v1', 'local'],
  ['io.containerd.grpc.v1', 'streaming'],
] as const

/** Finds the plugins that the choice goes by. */
export const PULL_FILTERS: readonly string[] = NEEDED.map(([type, id]) => `type==${type},id==${id}`)

/** @throws `UNSUPPORTED` when `transfer` is wanted and the daemon cannot */
export function choosePuller(wanted: 'auto' | 'client' | 'transfer' | undefined, daemon: Daemon, driver: string): Puller {
  if (wanted === 'client') return { by: 'client', why: 'the option `pullBy` says so' }
  const lack = lackOf(daemon)
  if (wanted === 'transfer') {
    if (lack === undefined) return { by: 'transfer', why: 'the option `pullBy` says so' }
    throw new VMKitError('UNSUPPORTED', `containerd's Transfer service cannot pull here: ${lack}`, {
      driver,
      field: 'options.pullBy',
      hint: "Leave the option `pullBy` at 'auto', and vmkit pulls by itself",
    })
  }
  if (lack !== undefined) return { by: 'client', why: lack }
  if (daemon.snapshotter !== UNPACKED) {
    return { by: 'client', why: `the service unpacks for ${UNPACKED}, and the snapshotter is ${daemon.snapshotter}` }
  }
  return { by: 'transfer', why: 'the daemon has it' }
}

function lackOf({ version, plugins }: Daemon): string | undefined {
  for (const [type, id] of NEEDED) {
    const found = plugins.find((plugin) => plugin.type === type && plugin.id === id)
    if (found === undefined) return `the daemon has no plugin ${type}.${id}`
    if (found.initErr !== undefined) return `its plugin ${type}.${id} did not start: ${found.initErr.message}`
  }
  const major = Number(/\d+/.exec(version)?.[0])
  return major >= FIRST_MAJOR ? undefined : 'before containerd 2 the service speaks https alone, and not plain HTTP'
}

export async function pullerOf(access: ImageAccess, ctx: CallContext): Promise<Puller> {
  const { driver, options } = access
  if (options.pullBy === 'client') return choosePuller('client', { version: '', plugins: [], snapshotter: '' }, driver)
  const containerd = await access.containerd()
  const [{ version }, { plugins }, snapshotter] = await Promise.all([
    containerd.version.version({}, { signal: ctx.signal }),
    containerd.introspection.plugins({ filters: [...PULL_FILTERS] }, { signal: ctx.signal }),
    access.snapshotter(ctx),
  ])
  return choosePuller(options.pullBy, { version, plugins, snapshotter }, driver)
}
