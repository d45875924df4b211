/** The four bundlers with the settings a Node app needs, and no more: dropping a bare import would be their own choice. */
import { join } from 'node:path'
import commonjs from '@rollup/plugin-commonjs'
import nodeResolve from '@rollup/plugin-node-resolve'
import * as esbuild from 'esbuild'
import { rolldown } from 'rolldown'
import { rollup } from 'rollup'
import webpack from 'webpack'

// It loads native addons where they are, which no bundler can take along; apps leave it outside as well.
const EXTERNAL = 'dockerode'

/** Bundles `main.js` of the app and resolves with the bundle's entry. */
export const bundlers: Readonly<Record<string, (app: string) => Promise<string>>> = {
  async esbuild(app) {
    const outfile = join(app, 'esbuild', 'main.mjs')
    await esbuild.build({
      entryPoints: [join(app, 'main.js')],
      outfile,
      bundle: true,
      platform: 'node',
      format: 'esm',
      external: [EXTERNAL],
      // CommonJS dependencies of ESM bundles need a require of their own, under a name that no dependency imports.
      banner: { js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url)" },
    })
    return outfile
  },

  async rollup(app) {
    const bundle = await rollup({
      input: join(app, 'main.js'),
      plugins: [nodeResolve({ preferBuiltins: true, exportConditions: ['node'] }), commonjs()],
      external: [/^node:/, EXTERNAL],
    })
    await bundle.write({ dir: join(app, 'rollup'), format: 'esm', entryFileNames: '[name].mjs', chunkFileNames: '[name]-[hash].mjs' })
    await bundle.close()
    return join(app, 'rollup', 'main.mjs')
  },

  async rolldown(app) {
    const bundle = await rolldown({ input: join(app, 'main.js'), cwd: app, platform: 'node', external: [EXTERNAL] })
    await bundle.write({ dir: join(app, 'rolldown'), format: 'esm', entryFileNames: '[name].mjs', chunkFileNames: '[name]-[hash].mjs' })
    await bundle.close()
    return join(app, 'rolldown', 'main.mjs')
  },

  async webpack(app) {
    const compiler = webpack({
      mode: 'production',
      target: 'node20',
      context: app,
      entry: './main.js',
      experiments: { outputModule: true },
      externals: { [EXTERNAL]: `import ${EXTERNAL}` },
      output: { path: join(app, 'webpack'), filename: 'main.mjs', module: true },
    })
    await new Promise<void>((resolve, reject) => {
      compiler?.run((error, stats) => {
        if (error || stats?.hasErrors()) reject(error ?? new Error(stats?.toString('errors-only')))
        else compiler.close((failure) => (failure ? reject(failure) : resolve()))
      })
    })
    return join(app, 'webpack', 'main.mjs')
  },
}
