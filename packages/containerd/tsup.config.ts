import { defineConfig } from 'tsup'
import { base } from '../../tsup.base.js'

/**
 * gRPC and protobuf are bundled, and only what is used of them: from their packages they take twice as long to load. grpc-js is
 * CommonJS, so its chunk needs a `require`; its channelz service, which nobody starts, would bring proto-loader and protobufjs.
 */
export default defineConfig({
  ...base,
  entry: { index: 'src/index.ts', driver: 'src/driver.ts' },
  noExternal: ['@grpc/grpc-js', '@bufbuild/protobuf'],
  external: ['@grpc/proto-loader'],
  banner: {
    js: "import { createRequire as vmkitCreateRequire } from 'node:module'; const require = /* @__PURE__ */ vmkitCreateRequire(import.meta.url);",
  },
})
