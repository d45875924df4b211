import type { LookingClient } from './connection.js'
import { hasCode } from './errors.js'
import type { Container } from './generated/containers_pb.js'

/** However many there are. @param filter in containerd's words (its `filters/filter.go`) */
export async function listContainers(client: LookingClient, filter: string, { signal }: { signal: AbortSignal }): Promise<Container[]> {
  const wanted = { filters: [filter] }
  try {
    return (await client.containers.list(wanted, { signal })).containers
  } catch (error) {
    // More than a message holds, which is some two thousand machines: one message each takes twice as long.
    if (!hasCode(error, 'RESOURCE_EXHAUSTED')) throw error
  }
  const containers: Container[] = []
  for await (const { container } of client.containers.listStream(wanted, { signal })) if (container) containers.push(container)
  return containers
}
