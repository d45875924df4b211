import { VMKitError } from '@vmkit/core/driver'
import { expect, it } from 'vitest'
import type { Containerd } from '../grpc/connection.js'
import { unaborted } from '../host.js'
import { unpackImage } from './unpack.js'

/** A daemon whose collector of garbage comes after each call, and takes the layer unless a lease holds it. */
function eagerDaemon(layer: string) {
  let isThere = true
  let isHeld = false
  const call =
    <T>(answer: (request: never) => T) =>
    async (request: unknown) => {
      try {
        return answer(request as never)
      } finally {
        isThere &&= isHeld
      }
    }
  const need = () => {
    if (!isThere) throw new VMKitError('NOT_FOUND', 'no snapshot')
    return { info: { name: layer } }
  }
  const containerd = {
    snapshots: { stat: call(need) },
    leases: {
      addResource: call(() => {
        isHeld = true
      }),
    },
  }
  return { containerd: containerd as unknown as Containerd, isThere: () => isThere }
}

it('a layer that is said to be there is held by the lease', async () => {
  const top = `sha256:${'a'.repeat(64)}`
  const { containerd, isThere } = eagerDaemon(top)
  const unpack = { config: { rootfs: { diff_ids: [top] } }, manifest: { layers: [] }, snapshotter: 'overlayfs', lease: 'l' }
  expect(await unpackImage(containerd, unpack as never, unaborted())).toBe(top)
  expect(isThere()).toBe(true)
})
