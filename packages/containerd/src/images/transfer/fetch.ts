/** Content and snapshots of an image by containerd's Transfer service: the daemon fetches and unpacks, and no byte passes through us. */
import { randomUUID } from 'node:crypto'
import type { CallContext } from '@vmkit/core/driver'
import type { Credentials, ImageSource, Reference } from '@vmkit/oci'
import type { Containerd } from '../../grpc/connection.js'
import { ImageStoreSchema, OCIRegistrySchema } from '../../grpc/generated/transfer_types_pb.js'
import { type AnyStream, openTransfer, packAny, type TransferClient } from '../../grpc/transfer-client.js'
import { dropBroken, keepUploads } from '../content.js'
import { answerAuth } from './credentials.js'
import { transferError } from './errors.js'
import { passProgress } from './progress.js'

export interface Fetch {
  reference: Reference
  /** What our own client has read of it: the service is asked for exactly this, whatever becomes of the tag. */
  source: ImageSource
  credentials: Credentials | undefined
  plainHttp: boolean
  snapshotter: string
  lease: string
}

/**
 * Afterwards the daemon has the image under its name, unpacked, and the lease holds it. What an aborted or broken one has fetched is
 * gone on with by the next, ours or the service's. @throws what the service said; no error holds a secret
 */
export async function fetchByTransfer(containerd: Containerd, fetch: Fetch, ctx: CallContext): Promise<void> {
  const { reference, source, credentials, snapshotter, lease } = fetch
  const { signal } = ctx
  await keepUploads(containerd, source.manifest.layers, signal)
  const client = openTransfer(containerd)
  try {
    const call = { signal, lease }
    const progress = await open(client, call, (stream) => passProgress(stream, source.manifest, ctx))
    const auth = credentials && (await open(client, call, (stream) => answerAuth(stream, reference, credentials)))
    const { os, architecture, variant = '' } = source.descriptor.platform ?? source.config
    const platform = { os, architecture, variant }
    const digest = (source.documents[0]?.descriptor ?? source.descriptor).digest
    await client.transfer(
      {
        source: packAny(OCIRegistrySchema, {
          reference: `${reference.registry}/${reference.repository}@${digest}`,
          resolver: { authStream: auth ?? '', defaultScheme: fetch.plainHttp ? 'http' : 'https' },
        }),
        destination: packAny(ImageStoreSchema, {
          name: reference.canonical,
          platforms: [platform],
          manifestLimit: 1,
          unpacks: [{ platform, snapshotter }],
        }),
        options: { progressStream: progress },
      },
      call,
    )
  } catch (error) {
    if (!signal.aborted) await dropBroken(containerd, source.manifest.layers, error)
    throw transferError(
      error,
      containerd.options.driver,
      credentials && ('token' in credentials ? credentials.token : credentials.password),
    )
  } finally {
    client.close()
  }
}

type Call = { signal: AbortSignal; lease: string }

/** Opens a stream, has somebody serve it until the client is closed, and returns its id. */
async function open(client: TransferClient, call: Call, serve: (stream: AnyStream) => Promise<void>): Promise<string> {
  const id = `vmkit-${randomUUID()}`
  const stream = await client.stream(id, call)
  // A daemon that asks and gets no answer would wait for one: without its streams the transfer fails.
  void serve(stream).catch(() => client.close())
  return id
}
