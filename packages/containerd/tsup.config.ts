import { isBuiltin } from 'node:module'
import { defineConfig, type Options } from 'tsup'
import { base } from '../../tsup.base.js'
import { plainDescriptors } from './tsup.descriptors.js'

/**
 * Chunks of what is bundled of others are parsed at the first call of every program: as few bytes as say the same, in lines that a
 * stack trace may show. Our own code stays readable.
 */
const minified: NonNullable<Options['esbuildPlugins']>[number] = {
  name: 'minify what is bundled',
  setup({ onEnd, esbuild }) {
    onEnd(async ({ outputFiles = [] }) => {
      for (const file of outputFiles.filter(({ path }) => path.endsWith('.js'))) {
        // esbuild writes above each module where it is from: of that, a line for each package stays.
        const origins = new Set(file.text.match(/^\/\/ \S*node_modules\/(?:@[^/]+\/)?[^/]+\//gm))
        if (origins.size === 0) continue
        const { code } = await esbuild.transform(file.text, { minify: true, lineLimit: 200, format: 'esm', target: 'node20' })
        file.contents = Buffer.from(`${code}\n${[...origins].join('\n')}\n`)
      }
    })
  },
}

/** What CommonJS requires of Node: a `require` would have to be made in every chunk, which takes longer than to load most of them. */
const builtins: NonNullable<Options['esbuildPlugins']>[number] = {
  name: 'built-in modules for CommonJS',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^[a-z0-9_:/]+$/ }, ({ path, kind }) =>
      kind === 'require-call' && isBuiltin(path) ? { path, namespace: 'builtin' } : undefined,
    )
    onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => ({ contents: `module.exports = process.getBuiltinModule('${path}')` }))
  },
}

/**
 * gRPC and protobuf are bundled, and only what is used of them: from their packages they take twice as long to load. The channelz
 * service of grpc-js, which nobody starts, would bring proto-loader and protobufjs.
 */
export default defineConfig({
  ...base,
  entry: { index: 'src/index.ts', driver: 'src/driver.ts' },
  noExternal: ['@grpc/grpc-js', '@bufbuild/protobuf'],
  external: ['@grpc/proto-loader'],
  esbuildPlugins: [...(base.esbuildPlugins ?? []), builtins, plainDescriptors, minified],
})
