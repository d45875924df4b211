import { defineConfig } from 'tsup'
import { base } from '../../tsup.base.js'

// zod/mini is bundled: loading the zod package costs more start-up time than all of core (docs/decisions).
export default defineConfig({
  ...base,
  entry: { index: 'src/index.ts', 'driver-kit': 'src/driver-kit.ts', schema: 'src/schema.ts' },
  noExternal: ['zod'],
})
