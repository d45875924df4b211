/** What all work on images needs: the daemon, and the snapshotter that holds their layers. */
import { type CallContext, VMKitError } from '@vmkit/core/driver'
import type { Connection, Containerd } from '../grpc/connection.js'
import type { ParsedOptions } from '../options.js'

export interface ImageAccess {
  readonly driver: string
  readonly options: Pick<ParsedOptions, 'snapshotter' | 'registries' | 'insecureRegistries' | 'pullBy'>
  containerd(): Promise<Containerd>
  /** That of the options, or the daemon's best. @throws `INVALID_CONFIG` for one that the daemon cannot use */
  snapshotter(ctx: Pick<CallContext, 'signal'>): Promise<string>
}

/** The best first. */
const PREFERRED = ['overlayfs', 'native']

export function imageAccess(connection: Connection, options: ImageAccess['options']): ImageAccess {
  const { driver } = connection.options
  let chosen: string | undefined
  return {
    driver,
    options,
    containerd: () => connection.get(),
    async snapshotter({ signal }) {
      if (chosen !== undefined) return chosen
      const { introspection } = await connection.get()
      const { plugins } = await introspection.plugins({ filters: ['type==io.containerd.snapshotter.v1'] }, { signal })
      const usable = plugins.filter(({ initErr }) => initErr === undefined).map(({ id }) => id)
      const wanted = options.snapshotter
      if (wanted !== undefined && !usable.includes(wanted)) {
        const why = plugins.find(({ id }) => id === wanted)?.initErr?.message
        throw new VMKitError(
          'INVALID_CONFIG',
          `containerd has no snapshotter ${wanted}${why === undefined ? '' : `: ${why}`}; it has ${usable.join(', ')}`,
          {
            driver,
            field: 'options.snapshotter',
          },
        )
      }
      chosen = wanted ?? PREFERRED.find((name) => usable.includes(name))
      if (chosen === undefined) {
        throw new VMKitError(
          'UNSUPPORTED',
          `containerd has neither ${PREFERRED.join(' nor ')}, but ${usable.join(', ') || 'no snapshotter'}`,
          {
            driver,
            hint: 'Name one with the option `snapshotter`',
          },
        )
      }
      return chosen
    },
  }
}
