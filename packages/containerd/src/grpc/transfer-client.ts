/** containerd's Transfer and Streaming services, over the driver's connection; their messages are loaded with the first pull. */
import { create, type DescMessage, fromBinary, type MessageInitShape, type MessageShape, toBinary } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'
import type { CallOptions } from './client.js'
import type { Containerd } from './connection.js'
import { StreamInitSchema, Streaming } from './generated/streaming_pb.js'
import { Transfer, type TransferRequestSchema } from './generated/transfer_pb.js'

export interface TransferClient {
  transfer(request: MessageInitShape<typeof TransferRequestSchema>, options: CallOptions): Promise<void>
  /** A stream that a transfer may mean by its id, once the daemon knows it. */
  stream(id: string, options: CallOptions): Promise<AnyStream>
  /** Ends the streams, too. */
  close(): void
}

export interface AnyStream {
  send(message: Pick<Any, 'typeUrl' | 'value'>): void
  /** The next message; `undefined` when there will be none, however it ended: what went wrong, the transfer tells. */
  next(): Promise<Any | undefined>
}

export function openTransfer(containerd: Containerd): TransferClient {
  const { transfer } = containerd.service(Transfer)
  const { stream } = containerd.service(Streaming)
  const streams: { cancel(): void }[] = []
  return {
    async transfer(request, call) {
      await transfer(request, call)
    },
    async stream(id, call) {
      const both = stream(call)
      streams.push(both)
      both.send(packAny(StreamInitSchema, { id }))
      await both.next()
      return { send: both.send, next: () => both.next().catch(() => undefined) }
    },
    close() {
      for (const each of streams) each.cancel()
    },
  }
}

/** containerd's type URLs are bare names. */
export function packAny<S extends DescMessage>(schema: S, message: MessageInitShape<S>): Pick<Any, 'typeUrl' | 'value'> {
  return { typeUrl: schema.typeName, value: toBinary(schema, create(schema, message)) }
}

/** `undefined` for a message of another type. */
export function unpackAny<S extends DescMessage>(schema: S, { typeUrl, value }: Any): MessageShape<S> | undefined {
  return typeUrl.slice(typeUrl.lastIndexOf('/') + 1) === schema.typeName ? fromBinary(schema, value) : undefined
}
