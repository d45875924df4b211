import { defineConfig } from 'tsup'
import { base } from '../../tsup.base.js'

// zod/mini is bundled: loading the zod package costs more start-up time than all of core (docs/decisions).
export default defineConfig({
  ...base,
  entry: {
    index: 'src/index.ts',
    'driver-kit': 'src/driver-kit.ts',
    schema: 'src/schema.ts',
    'state-folder/index': 'src/state-folder/index.ts',
  },
  noExternal: ['zod'],
  // Uses the driver kit as drivers do. What it shares with plain core would else become one more file that every app loads.
  external: ['../driver-kit.js'],
})
