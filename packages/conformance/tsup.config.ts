import { defineConfig } from 'tsup'
import { base } from '../../tsup.base.js'

// child is not imported by anything: the kit runs it as a program of its own.
export default defineConfig({ ...base, entry: { index: 'src/index.ts', child: 'src/child.ts' } })
