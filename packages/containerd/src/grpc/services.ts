/** The services and messages of a program that does something. `connection.ts` loads them with the first call of such a one. */
import type { LookingClient, ServiceClient } from './client.js'
import { Content } from './generated/content_pb.js'
import { Diff } from './generated/diff_pb.js'
import { Events } from './generated/events_pb.js'
import { Images } from './generated/images_pb.js'
import { Leases } from './generated/leases_pb.js'
import { Snapshots } from './generated/snapshots_pb.js'
import { pack, unpack } from './messages.js'

export interface Containerd extends LookingClient {
  readonly images: ServiceClient<typeof Images>
  readonly content: ServiceClient<typeof Content>
  readonly snapshots: ServiceClient<typeof Snapshots>
  readonly diff: ServiceClient<typeof Diff>
  readonly leases: ServiceClient<typeof Leases>
  readonly events: ServiceClient<typeof Events>
  /** Messages for `Any` fields, and those that come in them. */
  readonly pack: typeof pack
  readonly unpack: typeof unpack
}

export function withServices(client: LookingClient): Containerd {
  return {
    ...client,
    images: client.service(Images),
    content: client.service(Content),
    snapshots: client.service(Snapshots),
    diff: client.service(Diff),
    leases: client.service(Leases),
    events: client.service(Events),
    pack,
    unpack,
  }
}
