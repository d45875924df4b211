import { VMKitError } from '@vmkit/core'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { remove } from './lifecycle.js'
import { type Machines, unaborted } from './machines.js'

const IN_PROGRESS = new VMKitError('CONFLICT', 'removal of container x is already in progress')
const GONE = new VMKitError('NOT_FOUND', 'No such container: x')

/** Answers each removal with the next of these, and a wait for another caller's as it is told to. */
function engineThat(answers: (VMKitError | 'ok')[], wait: (signal: AbortSignal) => Promise<unknown>) {
  const asked: string[] = []
  const forget = vi.fn()
  const json = async ({ method, path, signal }: { method: string; path: string; signal: AbortSignal }) => {
    asked.push(`${method} ${path}`)
    if (path.endsWith('/wait')) return wait(signal)
    const answer = answers.shift()
    if (answer instanceof VMKitError) throw answer
  }
  const found = { engine: { json, isPodman: false }, path: '/containers/x', id: 'x', facts: { isBased: false, image: 'sha256:1' } }
  return { asked, forget, machines: { find: async () => found, forget } as unknown as Machines }
}

const WAIT = 'POST /containers/x/wait'
const DELETE = 'DELETE /containers/x'

describe('a machine that somebody else removes at the same moment', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  it('is deleted when that is done', async () => {
    const { asked, forget, machines } = engineThat([IN_PROGRESS, GONE], async () => ({ StatusCode: 0 }))
    await remove(machines, 'x', true, unaborted())
    expect(asked).toEqual([DELETE, WAIT, DELETE])
    expect(forget).toHaveBeenCalledOnce()
  })

  it('is deleted by this caller when the other one fails', async () => {
    const { asked, machines } = engineThat([IN_PROGRESS, 'ok'], async () => ({ StatusCode: 0, Error: { Message: 'device is busy' } }))
    await remove(machines, 'x', true, unaborted())
    expect(asked).toEqual([DELETE, WAIT, DELETE])
  })

  it('is deleted, too, when the wait began too late, and is never answered', async () => {
    const never = (signal: AbortSignal) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(new VMKitError('ABORTED', 'left'))))
    const { asked, machines } = engineThat([IN_PROGRESS, IN_PROGRESS, GONE], never)
    const removing = remove(machines, 'x', true, unaborted())
    await vi.runAllTimersAsync()
    await removing
    expect(asked).toEqual([DELETE, WAIT, DELETE, WAIT, DELETE])
  })

  it('is NOT_FOUND when it was gone before', async () => {
    const { forget, machines } = engineThat([GONE], async () => {})
    await expect(remove(machines, 'x', true, unaborted())).rejects.toMatchObject({ code: 'NOT_FOUND' })
    expect(forget).not.toHaveBeenCalled()
  })
})
