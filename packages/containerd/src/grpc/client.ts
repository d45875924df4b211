/**
 * The one file that knows gRPC: typed calls to containerd's services over one UNIX socket. `connection.ts` loads it on first use.
 */
import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf'
import type { GenService, GenServiceMethods } from '@bufbuild/protobuf/codegenv2'
// grpc-js' files know each other in circles: the client must come after the channel.
import { ChannelImplementation } from '@grpc/grpc-js/build/src/channel.js'
import { ChannelCredentials } from '@grpc/grpc-js/build/src/channel-credentials.js'
import { Client, type CallOptions as GrpcCallOptions } from '@grpc/grpc-js/build/src/client.js'
import { setup as usePickFirst } from '@grpc/grpc-js/build/src/load-balancer-pick-first.js'
import { Metadata } from '@grpc/grpc-js/build/src/metadata.js'
import { setup as useUnixSockets } from '@grpc/grpc-js/build/src/resolver-uds.js'
import type { ConnectionOptions } from './connection.js'
import { grpcError, isDisconnected } from './errors.js'
import { Containers } from './generated/containers_pb.js'
import { Introspection } from './generated/introspection_pb.js'
import { Namespaces } from './generated/namespaces_pb.js'
import { Tasks } from './generated/tasks_pb.js'
import { Version } from './generated/version_pb.js'

export interface CallOptions {
  signal?: AbortSignal
  /** Milliseconds after which the call fails with `TIMEOUT`. Default: none but the signal's. */
  timeoutMs?: number
  /** Id of the lease that holds what the call makes. */
  lease?: string
  /** Instead of the connection's. */
  namespace?: string
  /** The machine that errors name. */
  vmId?: string
}

/** Both sides talk. Ends by itself when the other side does. */
export interface Duplex<I extends DescMessage, O extends DescMessage> {
  send(message: MessageInitShape<I>): void
  /** The next answer; `undefined` when the other side is done. One at a time. */
  next(): Promise<MessageShape<O> | undefined>
  /** Nothing more to send. */
  end(): void
  /** Ends both sides at once; harmless when they have. */
  cancel(): void
}

type Method = Pick<DescMethod, 'input' | 'output' | 'methodKind'>
type Call<M extends Method> = M['methodKind'] extends 'unary'
  ? (request: MessageInitShape<M['input']>, options?: CallOptions) => Promise<MessageShape<M['output']>>
  : M['methodKind'] extends 'server_streaming'
    ? (request: MessageInitShape<M['input']>, options?: CallOptions) => AsyncIterableIterator<MessageShape<M['output']>>
    : (options?: CallOptions) => Duplex<M['input'], M['output']>
export type ServiceClient<S> = S extends GenService<infer T extends GenServiceMethods> ? { readonly [K in keyof T]: Call<T[K]> } : never

/** What a program needs that only looks; `services.ts` has what others need as well. */
export interface LookingClient {
  readonly options: ConnectionOptions
  readonly version: ServiceClient<typeof Version>
  readonly namespaces: ServiceClient<typeof Namespaces>
  readonly containers: ServiceClient<typeof Containers>
  readonly tasks: ServiceClient<typeof Tasks>
  readonly introspection: ServiceClient<typeof Introspection>
  /** Any other service, over the same connection: for descriptions that are loaded when they are needed. */
  service<S extends GenService<GenServiceMethods>>(description: S): ServiceClient<S>
  close(): void
}

/** The most that containerd sends or takes in one message. */
const MAX_MESSAGE_BYTES = 16 * 2 ** 20

const CHANNEL = {
  'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
  'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  // Retries would hide lifecycle races, and keep a copy of each message.
  'grpc.enable_retries': 0,
  // Counts of calls that nobody asks for.
  'grpc.enable_channelz': 0,
  'grpc.enable_http_proxy': 0,
  // Else a new channel to the same socket takes over the failure, and the time to wait, of one that was dropped.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.service_config_disable_resolution': 1,
}

/** How to reach one daemon. A channel that lost its socket backs off for a while: it is dropped, and the next call dials at once. */
interface Wire {
  options: ConnectionOptions
  client(): Client
  drop(client: Client): void
}

// What the package's entry does for all of gRPC, its server and its balancers included, which take longer to load than to be used.
useUnixSockets()
usePickFirst()

export function connect(options: ConnectionOptions): LookingClient {
  let current: Client | undefined
  const wire: Wire = {
    options,
    client() {
      current ??= dial(`unix:${options.socketPath}`)
      return current
    },
    drop(client) {
      if (current === client) current = undefined
      client.close()
    },
  }
  return {
    options,
    version: service(wire, Version),
    namespaces: service(wire, Namespaces),
    containers: service(wire, Containers),
    tasks: service(wire, Tasks),
    introspection: service(wire, Introspection),
    service: (description) => service(wire, description),
    close() {
      current?.close()
      current = undefined
    },
  }
}

function dial(address: string): Client {
  const credentials = ChannelCredentials.createInsecure()
  return new Client(address, credentials, { channelOverride: new ChannelImplementation(address, credentials, CHANNEL) })
}

function service<S extends GenService<GenServiceMethods>>(wire: Wire, description: S): ServiceClient<S> {
  const calls = Object.entries(description.method).map(([name, method]) => [name, callOf(wire, method as DescMethod)])
  return Object.fromEntries(calls) as ServiceClient<S>
}

function callOf(wire: Wire, method: DescMethod): unknown {
  if (method.methodKind === 'unary') return (request: object, options?: CallOptions) => unary(wire, method, request, options ?? {})
  if (method.methodKind === 'server_streaming')
    return (request: object, options?: CallOptions) => stream(wire, method, request, options ?? {})
  return (options?: CallOptions) => duplex(wire, method, options ?? {})
}

function unary(wire: Wire, method: DescMethod, request: object, options: CallOptions): Promise<object> {
  return new Promise((resolve, reject) => {
    const fail = failureOf(wire, options)
    if (options.signal?.aborted) return reject(fail(undefined))
    const client = wire.client()
    const abort = () => {
      call.cancel()
      reject(fail(undefined))
    }
    const call = client.makeUnaryRequest(
      pathOf(method),
      (message: object) => encode(method.input, message),
      (bytes) => decode(method.output, bytes),
      request,
      metadataOf(wire, options),
      deadlineOf(options),
      (error, answer) => {
        options.signal?.removeEventListener('abort', abort)
        if (error) reject(fail(error, client))
        else resolve(answer as object)
      },
    )
    options.signal?.addEventListener('abort', abort, { once: true })
  })
}

async function* stream(wire: Wire, method: DescMethod, request: object, options: CallOptions): AsyncGenerator<object, undefined> {
  const fail = failureOf(wire, options)
  if (options.signal?.aborted) throw fail(undefined)
  const client = wire.client()
  const call = client.makeServerStreamRequest(
    pathOf(method),
    (message: object) => encode(method.input, message),
    (bytes) => decode(method.output, bytes),
    request,
    metadataOf(wire, options),
    deadlineOf(options),
  )
  const abort = () => call.destroy(fail(undefined))
  options.signal?.addEventListener('abort', abort, { once: true })
  try {
    yield* call
  } catch (error) {
    throw fail(error, client)
  } finally {
    options.signal?.removeEventListener('abort', abort)
    // A stream that is read no further reports its cancellation; nobody waits for it.
    call.on('error', () => undefined)
    call.cancel()
  }
}

function duplex(wire: Wire, method: DescMethod, options: CallOptions): Duplex<DescMessage, DescMessage> {
  const fail = failureOf(wire, options)
  if (options.signal?.aborted) throw fail(undefined)
  const client = wire.client()
  const call = client.makeBidiStreamRequest(
    pathOf(method),
    (message: object) => encode(method.input, message),
    (bytes) => decode(method.output, bytes),
    metadataOf(wire, options),
    deadlineOf(options),
  )
  const abort = () => {
    call.cancel()
    call.destroy(fail(undefined))
  }
  options.signal?.addEventListener('abort', abort, { once: true })
  const done = () => options.signal?.removeEventListener('abort', abort)
  call.on('error', done)
  call.on('end', done)
  const answers = call[Symbol.asyncIterator]()
  return {
    send: (message) => void call.write(message),
    async next() {
      try {
        const { done: isDone, value } = await answers.next()
        return isDone ? undefined : value
      } catch (error) {
        throw fail(error, client)
      }
    },
    end: () => void call.end(),
    cancel() {
      done()
      call.cancel()
    },
  }
}

function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`
}

function encode(schema: DescMessage, message: object): Buffer {
  const bytes = toBinary(schema, create(schema, message as MessageInitShape<DescMessage>))
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function decode(schema: DescMessage, bytes: Uint8Array): MessageShape<DescMessage> {
  return fromBinary(schema, bytes, { readUnknownFields: false })
}

function metadataOf(wire: Wire, { namespace, lease }: CallOptions): Metadata {
  const metadata = new Metadata()
  metadata.set('containerd-namespace', namespace ?? wire.options.namespace)
  if (lease !== undefined) metadata.set('containerd-lease', lease)
  return metadata
}

function deadlineOf({ timeoutMs }: CallOptions): GrpcCallOptions {
  return timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs }
}

function failureOf(wire: Wire, { signal, vmId }: CallOptions): (failure: unknown, client?: Client) => Error {
  return (failure, client) => {
    if (client !== undefined && isDisconnected(failure)) wire.drop(client)
    return grpcError(failure, wire.options.socketPath, { driver: wire.options.driver, vmId }, signal)
  }
}
