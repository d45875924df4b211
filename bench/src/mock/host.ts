import type { CallContext } from '@vmkit/core/driver'
import type { Bed, Operation } from './bed.js'

/** What belongs to no machine. Networks go the same way as volumes. */
export function hostOperations({ driver, handle }: Bed): Operation[] {
  const reference = 'example.com/image:1'
  const pull = (ctx: CallContext) => driver.images.pull({ reference }, ctx)
  const make = (ctx: CallContext) => driver.volumes.create('data', {}, ctx)
  const remove = (ctx: CallContext) => driver.volumes.remove('data', ctx)
  return [
    { name: 'images.pull', ours: () => handle.images.pull(reference), theirs: pull },
    { name: 'images.list', ours: () => handle.images.list(), theirs: (ctx) => driver.images.list(ctx) },
    {
      name: 'images.remove',
      before: pull,
      ours: () => handle.images.remove(reference),
      theirs: (ctx) => driver.images.remove(reference, ctx),
    },
    { name: 'volumes.create', ours: () => handle.volumes.create('data'), theirs: make, after: remove },
    { name: 'volumes.list', ours: () => handle.volumes.list(), theirs: (ctx) => driver.volumes.list(ctx) },
    { name: 'volumes.remove', before: make, ours: () => handle.volumes.remove('data'), theirs: remove },
  ]
}
