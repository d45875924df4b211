import { VMKitError } from '@vmkit/core/driver'
import { expect, it } from 'vitest'
import { onFreePort } from './free-port.js'

const taken = new VMKitError('CONFLICT', 'somebody else was faster')

it('goes on to another port where somebody else was faster, and gives up in the end', async () => {
  const tried: number[] = []
  const port = await onFreePort('127.0.0.1', async (candidate) => {
    tried.push(candidate)
    if (tried.length < 3) throw taken
  })
  expect([tried.length, tried.at(-1)]).toEqual([3, port])
  await expect(onFreePort('127.0.0.1', () => Promise.reject(taken))).rejects.toBe(taken)
})

it('another failure is one at once', async () => {
  let tries = 0
  const refuse = async (): Promise<never> => {
    tries += 1
    throw new VMKitError('PERMISSION_DENIED', 'no')
  }
  await expect(onFreePort('127.0.0.1', refuse)).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
  expect(tries).toBe(1)
})
