/** What all work on images needs: the daemon, and the snapshotter that holds their layers. */
import { type CallContext, VMKitError } from '@vmkit/core/driver'
import type { Connection, Containerd } from '../grpc/connection.js'
import type { Plugin } from '../grpc/generated/introspection_pb.js'
import type { ParsedOptions } from '../options.js'

export interface ImageAccess {
  readonly driver: string
  readonly options: Pick<ParsedOptions, 'snapshotter' | 'registries' | 'insecureRegistries' | 'pullBy'>
  containerd(): Promise<Containerd>
  /** That of the options, or the daemon's best. @throws `INVALID_CONFIG` for one that the daemon cannot use */
  snapshotter(ctx: Pick<CallContext, 'signal'>): Promise<string>
  /** The same, by what plugins the daemon has. */
  snapshotterAmong(plugins: readonly Plugin[]): string
}

const SNAPSHOTTER = 'io.containerd.snapshotter.v1'
/** Finds them among the daemon's plugins. */
export const SNAPSHOTTER_FILTER = `type==${SNAPSHOTTER}`
/** The best first. */
const PREFERRED = ['overlayfs', 'native']

export function imageAccess(connection: Connection, options: ImageAccess['options']): ImageAccess {
  const { driver } = connection.options
  let chosen: string | undefined
  const snapshotterAmong = (plugins: readonly Plugin[]): string => {
    chosen ??= chooseSnapshotter(options.snapshotter, plugins, driver)
    return chosen
  }
  return {
    driver,
    options,
    containerd: () => connection.get(),
    snapshotterAmong,
    async snapshotter({ signal }) {
      if (chosen !== undefined) return chosen
      const { introspection } = await connection.look()
      return snapshotterAmong((await introspection.plugins({ filters: [SNAPSHOTTER_FILTER] }, { signal })).plugins)
    },
  }
}

function chooseSnapshotter(wanted: string | undefined, plugins: readonly Plugin[], driver: string): string {
  const snapshotters = plugins.filter(({ type }) => type === SNAPSHOTTER)
  const usable = snapshotters.filter(({ initErr }) => initErr === undefined).map(({ id }) => id)
  if (wanted !== undefined && !usable.includes(wanted)) {
    const why = snapshotters.find(({ id }) => id === wanted)?.initErr?.message
    throw new VMKitError(
      'INVALID_CONFIG',
      `containerd has no snapshotter ${wanted}${why === undefined ? '' : `: ${why}`}; it has ${usable.join(', ')}`,
      { driver, field: 'options.snapshotter' },
    )
  }
  const found = wanted ?? PREFERRED.find((name) => usable.includes(name))
  if (found !== undefined) return found
  throw new VMKitError('UNSUPPORTED', `containerd has neither ${PREFERRED.join(' nor ')}, but ${usable.join(', ') || 'no snapshotter'}`, {
    driver,
    hint: 'Name one with the option `snapshotter`',
  })
}
