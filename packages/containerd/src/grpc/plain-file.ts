/**
 * Descriptors from plain data. Generated code has them as the bytes of a `FileDescriptorProto`, to read which a program needs the
 * descriptors of descriptors first: a quarter of the time to the first answer. The build reads them instead (`tsup.descriptors.ts`).
 */
import { createFileRegistry, type DescFile } from '@bufbuild/protobuf'
import type { FileDescriptorProto } from '@bufbuild/protobuf/wkt'

/** What is set of a `FileDescriptorProto` of protobuf's descriptor.proto; its dependencies are the imports. */
export interface FileData {
  name: string
  package?: string
  syntax: 'proto3'
  messageType?: readonly MessageData[]
  enumType?: readonly EnumData[]
  service?: readonly { name: string; method?: readonly object[] }[]
}

interface MessageData {
  name: string
  field?: readonly object[]
  nestedType?: readonly MessageData[]
  enumType?: readonly EnumData[]
  oneofDecl?: readonly object[]
  options?: object
}

interface EnumData {
  name: string
  value?: readonly object[]
}

/** The same as protobuf-es' `fileDesc` of the bytes, but for names in JSON, which nothing here writes. */
export function plainFile(data: FileData, imports: readonly DescFile[] = []): DescFile {
  const proto = {
    $typeName: 'google.protobuf.FileDescriptorProto',
    package: '',
    ...data,
    dependency: imports.map((file) => file.proto.name),
    messageType: (data.messageType ?? []).map(message),
    enumType: data.enumType ?? [],
    service: data.service ?? [],
    extension: [],
  }
  // What registries read of a file is there; what else the type has, editors and other generators read.
  const registry = createFileRegistry(proto as unknown as FileDescriptorProto, (name) => imports.find((file) => file.proto.name === name))
  return registry.getFile(data.name) as DescFile
}

/** Lists that are empty are not in the data. */
function message(data: MessageData): object {
  return {
    field: [],
    enumType: [],
    oneofDecl: [],
    extension: [],
    ...data,
    nestedType: (data.nestedType ?? []).map(message),
  }
}
