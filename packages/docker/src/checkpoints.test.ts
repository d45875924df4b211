import { describe, expect, it } from 'vitest'
import { createCheckpoint, startFromCheckpoint } from './checkpoints.js'
import { type Place, unaborted } from './machines.js'

/** Refuses with each of these words once, and does then what it is asked to. */
function engineThatSays(...refusals: string[]) {
  const asked: unknown[] = []
  const engine = {
    json: async ({ method, path, query, body }: { method: string; path: string; query?: unknown; body?: unknown }) => {
      if (method === 'GET') return []
      if (!/\/(start|checkpoints)$/.test(path)) return
      asked.push(query ?? body)
      const words = refusals.shift()
      if (words !== undefined) throw Object.assign(new Error(words), { code: 'BACKEND_ERROR' })
    },
    undo: (work: () => Promise<void>) => work(),
  }
  return { place: { engine, path: '/containers/x', id: 'x' } as unknown as Place, asked }
}

const stored = `failed to upload checkpoint to containerd: commit failed: content sha256:${'a'.repeat(64)}: already exists`

describe('saving a checkpoint', () => {
  it('waits until the engine has let go of what it stored for the one before', async () => {
    const { place, asked } = engineThatSays(stored, stored)
    const { createdAt } = await createCheckpoint(place, 'one', unaborted())
    expect(asked).toEqual(Array(3).fill({ CheckpointID: `one.vmkit-${createdAt}`, Exit: false }))
  })

  it('does not wait for a caller who has left', async () => {
    const { place, asked } = engineThatSays(stored, stored)
    const signal = AbortSignal.abort()
    await expect(createCheckpoint(place, 'one', { ...unaborted(), signal })).rejects.toThrow('already exists')
    expect(asked).toHaveLength(1)
  })
})

describe('start from a checkpoint', () => {
  it('waits until the engine has let go of what it stored when the checkpoint was saved', async () => {
    const { place, asked } = engineThatSays(stored, stored)
    await startFromCheckpoint(place, 'one')
    expect(asked).toEqual(Array(3).fill({ checkpoint: 'one' }))
  })

  it('gives any other refusal on at once, in the words of the engine', async () => {
    const { place, asked } = engineThatSays('criu failed: type RESTORE errno 0')
    await expect(startFromCheckpoint(place, 'one')).rejects.toThrow('The memory cannot be restored: criu failed: type RESTORE errno 0')
    expect(asked).toHaveLength(1)
  })
})
