/**
 * containerd's Transfer and Streaming services, over a channel of their own that lives as long as one pull: `client.ts`, which each
 * program loads with its first call, is spared what only pulls need.
 */
import { create, type DescMessage, fromBinary, type MessageInitShape, type MessageShape, toBinary } from '@bufbuild/protobuf'
import { type Any, AnySchema, EmptySchema } from '@bufbuild/protobuf/wkt'
import { Client, credentials, Metadata } from '@grpc/grpc-js'
import type { CallOptions } from './client.js'
import type { ConnectionOptions } from './connection.js'
import { grpcError } from './errors.js'
import { StreamInitSchema, Streaming } from './generated/streaming_pb.js'
import { Transfer, TransferRequestSchema } from './generated/transfer_pb.js'

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

export function openTransfer(options: ConnectionOptions): TransferClient {
  const client = new Client(`unix:${options.socketPath}`, credentials.createInsecure(), {
    'grpc.enable_retries': 0,
    'grpc.enable_http_proxy': 0,
    'grpc.service_config_disable_resolution': 1,
  })
  const streams = new Set<{ cancel(): void }>()
  const failure = (error: unknown, signal?: AbortSignal) =>
    grpcError(error, options.socketPath, { driver: options.driver, operation: 'pull' }, signal)
  const metadataOf = ({ lease }: CallOptions): Metadata => {
    const metadata = new Metadata()
    metadata.set('containerd-namespace', options.namespace)
    if (lease !== undefined) metadata.set('containerd-lease', lease)
    return metadata
  }
  const { transfer } = Transfer.method
  const { stream } = Streaming.method

  return {
    transfer: (request, call) =>
      new Promise<void>((resolve, reject) => {
        const { signal } = call
        if (signal?.aborted) return reject(failure(undefined, signal))
        const abort = () => {
          running.cancel()
          reject(failure(undefined, signal))
        }
        const running = client.makeUnaryRequest(
          `/${transfer.parent.typeName}/${transfer.name}`,
          (message: typeof request) => encode(TransferRequestSchema, message),
          (bytes) => fromBinary(EmptySchema, bytes),
          request,
          metadataOf(call),
          (error) => {
            signal?.removeEventListener('abort', abort)
            if (error) reject(failure(error, signal))
            else resolve()
          },
        )
        signal?.addEventListener('abort', abort, { once: true })
      }),
    async stream(id, call) {
      const running = client.makeBidiStreamRequest(
        `/${stream.parent.typeName}/${stream.name}`,
        (message: AnyStreamMessage) => encode(AnySchema, message),
        (bytes) => fromBinary(AnySchema, bytes),
        metadataOf(call),
      )
      const answers = running[Symbol.asyncIterator]() as AsyncIterator<Any, undefined>
      // After its end nobody iterates, and an error without a listener would end the process.
      running.on('error', () => undefined)
      const cancel = () => running.cancel()
      call.signal?.addEventListener('abort', cancel, { once: true })
      streams.add(running)
      running.once('close', () => {
        streams.delete(running)
        call.signal?.removeEventListener('abort', cancel)
      })
      running.write(packAny(StreamInitSchema, { id }))
      try {
        await answers.next()
      } catch (error) {
        cancel()
        throw failure(error, call.signal)
      }
      return {
        send: (message) => void running.write(message),
        next: () =>
          answers.next().then(
            ({ done, value }) => (done ? undefined : value),
            () => undefined,
          ),
      }
    },
    close() {
      for (const each of streams) each.cancel()
      client.close()
    },
  }
}

type AnyStreamMessage = MessageInitShape<typeof AnySchema>

/** containerd's type URLs are bare names. */
export function packAny<S extends DescMessage>(schema: S, message: MessageInitShape<S>): Pick<Any, 'typeUrl' | 'value'> {
  return { typeUrl: schema.typeName, value: toBinary(schema, create(schema, message)) }
}

/** `undefined` for a message of another type. */
export function unpackAny<S extends DescMessage>(schema: S, { typeUrl, value }: Any): MessageShape<S> | undefined {
  return typeUrl.slice(typeUrl.lastIndexOf('/') + 1) === schema.typeName ? fromBinary(schema, value) : undefined
}

function encode<S extends DescMessage>(schema: S, message: MessageInitShape<S>): Buffer {
  return Buffer.from(toBinary(schema, create(schema, message)))
}
