import { readFile } from 'node:fs/promises'
import { defineConfig, type Options } from 'tsup'
import { base } from '../../tsup.base.js'

/** What is bundled of others is parsed at the first call of every program: as few bytes as say the same. Our own code stays readable. */
const minified: NonNullable<Options['esbuildPlugins']>[number] = {
  name: 'minify what is bundled',
  setup({ onLoad, esbuild }) {
    onLoad({ filter: /node_modules\/.*\.js$/ }, async ({ path }) => ({
      contents: (await esbuild.transform(await readFile(path, 'utf8'), { minify: true })).code,
    }))
  },
}

/**
 * gRPC and protobuf are bundled, and only what is used of them: from their packages they take twice as long to load. grpc-js is
 * CommonJS, so its chunk needs a `require`; its channelz service, which nobody starts, would bring proto-loader and protobufjs.
 */
export default defineConfig({
  ...base,
  entry: { index: 'src/index.ts', driver: 'src/driver.ts' },
  noExternal: ['@grpc/grpc-js', '@bufbuild/protobuf'],
  external: ['@grpc/proto-loader'],
  esbuildPlugins: [...(base.esbuildPlugins ?? []), minified],
  banner: {
    js: "import { createRequire as vmkitCreateRequire } from 'node:module'; const require = /* @__PURE__ */ vmkitCreateRequire(import.meta.url);",
  },
})
