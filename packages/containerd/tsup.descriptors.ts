import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { fromBinary } from '@bufbuild/protobuf'
import { base64Decode } from '@bufbuild/protobuf/wire'
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt'
import type { Options } from 'tsup'
import type { FileData } from './src/grpc/plain-file.js'

const PLAIN_FILE = fileURLToPath(new URL('./src/grpc/plain-file.ts', import.meta.url))

/** What generated code says of its file: bytes, and the files that those import. */
const FILE = /\bfileDesc\("([^"]+)"(?:, (\[[^\]]*\]))?\)/g

/** Generated descriptors, ours and those that come with protobuf-es, are read here and bundled as plain data. */
export const plainDescriptors: NonNullable<Options['esbuildPlugins']>[number] = {
  name: 'plain descriptors',
  setup({ onLoad }) {
    onLoad({ filter: /[\\/](src[\\/]grpc[\\/]generated|google[\\/]protobuf)[\\/]\w+_pb\.[jt]s$/ }, async ({ path }) => {
      const text = await readFile(path, 'utf8')
      const loader = path.endsWith('.ts') ? 'ts' : 'js'
      return { contents: `import { plainFile } from ${JSON.stringify(PLAIN_FILE)}\n${withPlainFiles(text)}`, loader }
    })
  },
}

/** The text of a generated module with data instead of bytes, but for files that plain data cannot tell. */
function withPlainFiles(text: string): string {
  return text.replace(FILE, (bytes, base64: string, imports = '[]') => {
    const data = plainData(base64)
    return data === undefined ? bytes : `plainFile(${JSON.stringify(data)}, ${imports})`
  })
}

/** What is set of a file that generated code has as base64; `undefined` for one that is not proto3, or extends others. */
export function plainData(base64: string): FileData | undefined {
  const file = fromBinary(FileDescriptorProtoSchema, base64Decode(base64))
  if (file.syntax !== 'proto3' || file.extension.length > 0) return undefined
  // Options of a file are for generators of other languages; `$typeName` is the same for all of a kind.
  const text = JSON.stringify({ ...file, options: undefined }, (key, value: unknown) =>
    key === '$typeName' || (Array.isArray(value) && value.length === 0) ? undefined : value,
  )
  return JSON.parse(text) as FileData
}
