/** Messages that travel inside an `Any`. containerd's type URLs are bare names, without a host. */
import { create, type DescMessage, fromBinary, type MessageInitShape, type MessageShape, toBinary } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'
import { MetricsSchema as Cgroup1MetricsSchema } from './generated/cgroup1_metrics_pb.js'
import { MetricsSchema as Cgroup2MetricsSchema } from './generated/cgroup2_metrics_pb.js'
import {
  ContainerCreateSchema,
  ContainerDeleteSchema,
  ContainerUpdateSchema,
  ImageCreateSchema,
  ImageUpdateSchema,
  TaskCreateSchema,
  TaskDeleteSchema,
  TaskExitSchema,
  TaskOOMSchema,
  TaskPausedSchema,
  TaskResumedSchema,
  TaskStartSchema,
} from './generated/event_types_pb.js'
import { CheckpointOptionsSchema, OptionsSchema as RuncOptionsSchema } from './generated/runc_options_pb.js'
import { OptionsSchema as RuntimeOptionsSchema } from './generated/runtime_options_pb.js'

const SCHEMAS = {
  'containerd.runc.v1.Options': RuncOptionsSchema,
  'containerd.runc.v1.CheckpointOptions': CheckpointOptionsSchema,
  'runtimeoptions.v1.Options': RuntimeOptionsSchema,
  'io.containerd.cgroups.v1.Metrics': Cgroup1MetricsSchema,
  'io.containerd.cgroups.v2.Metrics': Cgroup2MetricsSchema,
  'containerd.events.TaskCreate': TaskCreateSchema,
  'containerd.events.TaskStart': TaskStartSchema,
  'containerd.events.TaskDelete': TaskDeleteSchema,
  'containerd.events.TaskExit': TaskExitSchema,
  'containerd.events.TaskOOM': TaskOOMSchema,
  'containerd.events.TaskPaused': TaskPausedSchema,
  'containerd.events.TaskResumed': TaskResumedSchema,
  'containerd.events.ContainerCreate': ContainerCreateSchema,
  'containerd.events.ContainerUpdate': ContainerUpdateSchema,
  'containerd.events.ContainerDelete': ContainerDeleteSchema,
  'containerd.events.ImageCreate': ImageCreateSchema,
  'containerd.events.ImageUpdate': ImageUpdateSchema,
} as const satisfies Record<string, DescMessage>

export type PackedName = keyof typeof SCHEMAS
export type Packed<N extends PackedName = PackedName> = N extends PackedName
  ? { name: N; message: MessageShape<(typeof SCHEMAS)[N]> }
  : never

/** What goes into an `Any` field of a request. */
export type AnyInit = Pick<Any, 'typeUrl' | 'value'>

export function pack<N extends PackedName>(name: N, message: MessageInitShape<(typeof SCHEMAS)[N]>): AnyInit {
  const schema: DescMessage = SCHEMAS[name]
  return { typeUrl: name, value: toBinary(schema, create(schema, message)) }
}

/** `undefined` for what vmkit does not know. */
export function unpack(any: AnyInit | undefined): Packed | undefined {
  const name = any?.typeUrl.slice(any.typeUrl.lastIndexOf('/') + 1)
  if (any === undefined || name === undefined || !Object.hasOwn(SCHEMAS, name)) return undefined
  const schema: DescMessage = SCHEMAS[name as PackedName]
  return { name, message: fromBinary(schema, any.value) } as Packed
}
