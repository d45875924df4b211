import { describe, expect, it } from 'vitest'
import { startFromCheckpoint } from './checkpoints.js'
import type { Place } from './machines.js'

/** Answers each start with the next of these words; none is a start that went well. */
function engineThatSays(...refusals: string[]) {
  const starts: unknown[] = []
  const engine = {
    json: async ({ path, query }: { path: string; query: unknown }) => {
      if (!path.endsWith('/start')) return
      starts.push(query)
      const words = refusals.shift()
      if (words !== undefined) throw Object.assign(new Error(words), { code: 'BACKEND_ERROR' })
    },
  }
  return { place: { engine, path: '/containers/x', id: 'x' } as unknown as Place, starts }
}

describe('start from a checkpoint', () => {
  it('waits until the engine has let go of what it stored when the checkpoint was saved', async () => {
    const stored = `failed to upload checkpoint to containerd: commit failed: content sha256:${'a'.repeat(64)}: already exists`
    const { place, starts } = engineThatSays(stored, stored)
    await startFromCheckpoint(place, 'one')
    expect(starts).toEqual(Array(3).fill({ checkpoint: 'one' }))
  })

  it('gives any other refusal on at once, in the words of the engine', async () => {
    const { place, starts } = engineThatSays('criu failed: type RESTORE errno 0')
    await expect(startFromCheckpoint(place, 'one')).rejects.toThrow('The memory cannot be restored: criu failed: type RESTORE errno 0')
    expect(starts).toHaveLength(1)
  })
})
