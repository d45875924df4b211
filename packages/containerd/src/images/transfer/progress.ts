/** What the Transfer service tells of its progress, in our terms. */
import type { CallContext, Progress } from '@vmkit/core/driver'
import type { Manifest } from '@vmkit/oci'
import { ProgressSchema, type Progress as Told } from '../../grpc/generated/transfer_types_pb.js'
import { type AnyStream, unpackAny } from '../../grpc/transfer-client.js'

/** Ends with the stream. */
export async function passProgress(stream: AnyStream, manifest: Manifest, ctx: CallContext): Promise<void> {
  for (let message = await stream.next(); message !== undefined; message = await stream.next()) {
    const told = unpackAny(ProgressSchema, message)
    const progress = told && progressOf(told, manifest)
    if (progress) ctx.report(progress)
  }
}

/** Of layers only, as our own client tells it. `undefined` for what says nothing of one. */
export function progressOf(
  { event, name, progress }: Pick<Told, 'event' | 'name' | 'progress'>,
  { layers }: Manifest,
): Progress | undefined {
  const digest = /^layer-(sha\d+:[0-9a-f]+)$/.exec(name)?.[1]
  const layer = layers.find((each) => each.digest === digest)
  if (!layer || !/^(waiting|downloading|complete|already exists)$/.test(event)) return undefined
  return { phase: 'download', item: layer.digest, current: Number(progress), total: layer.size, unit: 'bytes' }
}
