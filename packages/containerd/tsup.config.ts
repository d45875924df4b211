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
      for (const file of outputFiles.filter(({ path, text }) => path.endsWith('.js') && text.includes('\n// ../../node_modules/')))
        file.contents = Buffer.from(
          (await esbuild.transform(file.text, { minify: true, lineLimit: 200, format: 'esm', target: 'node20' })).code,
        )
    })
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
  esbuildPlugins: [...(base.esbuildPlugins ?? []), plainDescriptors, minified],
  banner: {
    js: "import { createRequire as vmkitCreateRequire } from 'node:module'; const require = /* @__PURE__ */ vmkitCreateRequire(import.meta.url);",
  },
})
