import type { Options } from 'tsup'
import { licenses } from './tsup.licenses.js'

/**
 * What every package's build shares: ESM only, one file per entry. Types are emitted by tsc, a file for a file: a bundled
 * index.d.ts would move `DriverRegistry` out of the entry, and augmenting it would fail.
 */
export const base: Options = {
  format: ['esm'],
  target: 'node20',
  platform: 'node',
  removeNodeProtocol: false,
  clean: true,
  splitting: true,
  treeshake: true,
  esbuildPlugins: [licenses],
}
