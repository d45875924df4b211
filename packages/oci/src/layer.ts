import { compressionOf, decompress, detectCompression } from './decompress.js'
import { brokenContent, verified } from './digest.js'
import { badImage } from './errors.js'
import type { ErrorContext, ImageSource } from './source.js'
import type { Descriptor } from './types.js'

export interface LayerOptions {
  signal?: AbortSignal
  errors?: ErrorContext
}

/**
 * A layer as an uncompressed tar, whatever it is compressed with (gzip, zstd, nothing).
 * @param layer one of `source.manifest.layers`
 * @throws `INVALID_CONFIG` at the latest after the last chunk when it is not what the image's config says (`diff_ids`)
 */
export async function* layerTar(
  source: ImageSource,
  layer: Descriptor,
  { signal, errors = {} }: LayerOptions = {},
): AsyncGenerator<Uint8Array> {
  const index = source.manifest.layers.findIndex(({ digest }) => digest === layer.digest)
  const digest = source.config.rootfs.diff_ids[index]
  if (digest === undefined) throw badImage(`${layer.digest} is no layer of ${source.origin}`, errors)
  const content = source.blob(layer, { signal })
  const known = compressionOf(layer)
  if (known === undefined && !/tar/.test(layer.mediaType))
    throw badImage(`A layer of ${source.origin} is a ${layer.mediaType}, which is no tar`, errors)
  const tar = known === undefined ? decompressDetected(content, errors) : decompress(content, known, errors)
  yield* verified(tar, { digest }, brokenContent(errors))
}

async function* decompressDetected(content: AsyncIterable<Uint8Array>, errors: ErrorContext): AsyncGenerator<Uint8Array> {
  const iterator = content[Symbol.asyncIterator]()
  const first = await iterator.next()
  if (first.done) return
  const whole = (async function* () {
    try {
      yield first.value
      yield* { [Symbol.asyncIterator]: () => iterator }
    } finally {
      await iterator.return?.()
    }
  })()
  yield* decompress(whole, detectCompression(first.value), errors)
}
