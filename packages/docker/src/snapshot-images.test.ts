import { VMKitError } from '@vmkit/core'
import { describe, expect, it } from 'vitest'
import type { Engine } from './engine.js'
import { dropSnapshotImage, imagesToClean } from './snapshot-images.js'

const SNAPSHOT = 'vmkit-snapshot/u:one'
const BASE = 'vmkit-base/1:kept'

/** One image, that machines stand on, with an engine's rule: its last name does not go before they have gone. */
function engineWith(children: number) {
  const names = new Set([SNAPSHOT])
  const state = { names, children, onTag: () => {} }
  const gone = () => new VMKitError('NOT_FOUND', 'No such image')
  const answers: Record<string, (name: string) => unknown> = {
    GET: () => {
      if (names.size === 0) throw gone()
      return { Id: 'sha256:1', RepoTags: [...names] }
    },
    POST: () => {
      names.add(BASE)
      state.onTag()
    },
    DELETE: (name) => {
      if (!names.has(name)) throw gone()
      if (names.size === 1 && state.children > 0) throw new VMKitError('CONFLICT', 'image is being used by a container')
      names.delete(name)
    },
  }
  const json = async ({ method, path }: { method: string; path: string }) => answers[method]?.(path.replace('/images/', ''))
  return { state, engine: { json } as unknown as Engine }
}

const drop = (engine: Engine) => dropSnapshotImage(engine, SNAPSHOT, { signal: new AbortController().signal })

describe('a snapshot that goes', () => {
  it('leaves its data to the machines that stand on it', async () => {
    const { state, engine } = engineWith(2)
    await drop(engine)
    expect([...state.names]).toEqual([BASE])
  })

  it('does so, too, when one of them goes in the middle and takes the new name along', async () => {
    const { state, engine } = engineWith(2)
    state.onTag = () => {
      if (state.children === 1) return
      state.children = 1
      state.names.delete(BASE)
    }
    await drop(engine)
    expect([...state.names]).toEqual([BASE])
  })

  it('goes with its last machine also when it lost both names at the same moment', async () => {
    const asked: string[] = []
    const json = async ({ method, path }: { method: string; path: string }) => {
      asked.push(`${method} ${path}`)
      return method === 'GET' ? { Id: 'sha256:1', RepoTags: [], Comment: SNAPSHOT } : undefined
    }
    const machine = { uid: undefined, isBased: true, image: 'sha256:1' }
    await imagesToClean({ json } as unknown as Engine, machine, { signal: new AbortController().signal })()
    expect(asked).toEqual(['GET /images/sha256:1/json', 'DELETE /images/sha256:1'])
  })

  it('takes its data along when the last of them goes in the middle', async () => {
    const { state, engine } = engineWith(1)
    state.onTag = () => {
      state.children = 0
    }
    await drop(engine)
    expect([...state.names]).toEqual([])
  })
})
