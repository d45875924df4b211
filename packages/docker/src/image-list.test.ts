import { VMKitError } from '@vmkit/core'
import { describe, expect, it, vi } from 'vitest'
import type { Engine } from './engine.js'
import { listImages } from './image-list.js'

const GONE = new VMKitError('IMAGE_NOT_FOUND', 'retrieving size of image "1": locating image with ID "1": image not known')

/** Refuses so many times, and answers then. */
function engineWith(isPodman: boolean, refusals: number, refusal: Error = GONE) {
  const json = vi.fn(async () => {
    if (json.mock.calls.length <= refusals) throw refusal
    return [{ Id: 'sha256:2' }]
  })
  return { json, engine: { json, isPodman } as unknown as Engine }
}

describe('the list of images', () => {
  it('is asked for again when an image goes in the middle of it', async () => {
    const { engine, json } = engineWith(true, 2)
    expect(await listImages(engine, {})).toEqual([{ Id: 'sha256:2' }])
    expect(json).toHaveBeenCalledTimes(3)
  })

  it('fails when an image is broken for good', async () => {
    await expect(listImages(engineWith(true, Number.POSITIVE_INFINITY).engine, {})).rejects.toBe(GONE)
  })

  it('is asked for once where the engine locks it, and after any other refusal', async () => {
    const docker = engineWith(false, 1)
    await expect(listImages(docker.engine, {})).rejects.toBe(GONE)
    const broken = new VMKitError('BACKEND_ERROR', 'database is locked')
    const podman = engineWith(true, 1, broken)
    await expect(listImages(podman.engine, {})).rejects.toBe(broken)
    expect([docker.json.mock.calls.length, podman.json.mock.calls.length]).toEqual([1, 1])
  })
})
