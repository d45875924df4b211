import type { AnyInit } from './grpc/messages.js'
import type { Spec, SpecProcess, SpecResources } from './spec/types.js'

/** How containerd names the parts of the OCI runtime specification, whose JSON it passes on (its typeurl package). */
const PREFIX = 'types.containerd.io/opencontainers/runtime-spec/1'

export const specAny = (spec: Spec): AnyInit => jsonAny('Spec', spec)
export const processAny = (process: SpecProcess): AnyInit => jsonAny('Process', process)
export const resourcesAny = (resources: SpecResources): AnyInit => jsonAny('LinuxResources', resources)

function jsonAny(name: string, value: unknown): AnyInit {
  return { typeUrl: `${PREFIX}/${name}`, value: Buffer.from(JSON.stringify(value)) }
}

/** The spec of a container; `undefined` for one that has none that can be read. */
export function specOf(any: AnyInit | undefined): Spec | undefined {
  try {
    return JSON.parse(Buffer.from(any?.value ?? []).toString('utf8')) as Spec
  } catch {
    return undefined
  }
}
