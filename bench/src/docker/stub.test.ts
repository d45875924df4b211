import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type RawApi, rawApi, rawCycle } from './raw-api.js'
import { ENDS_AT_ONCE, ENDS_WHEN_AWAITED, type StubEngine, startStubEngine } from './stub.js'

let stub: StubEngine
let api: RawApi
beforeAll(async () => {
  stub = await startStubEngine()
  api = rawApi(stub.socketPath)
})
afterAll(async () => {
  api.close()
  await stub.close()
})

interface Inspected {
  State: { Status: string }
}

async function run(image: string): Promise<string> {
  const { Id } = await api.json<{ Id: string }>('POST', '/v1.41/containers/create', { Image: image })
  await api.call('POST', `/containers/${Id}/start`)
  return `/containers/${Id}`
}

const stateOf = async (path: string): Promise<string> => (await api.json<Inspected>('GET', `${path}/json`)).State.Status

describe('the stub engine', () => {
  it('counts the calls it gets', async () => {
    await stub.takeCalls()
    await rawCycle(api, { Image: ENDS_AT_ONCE, Entrypoint: ['/bin/true'] })
    expect(await stub.takeCalls()).toBe(4)
    expect(await stub.takeCalls()).toBe(0)
  })

  it('has programs that end at once, and programs that end when they are waited for', async () => {
    expect(await stateOf(await run(ENDS_AT_ONCE))).toBe('exited')
    const path = await run(ENDS_WHEN_AWAITED)
    expect(await stateOf(path)).toBe('running')
    expect(await api.json('POST', `${path}/wait?condition=next-exit`)).toEqual({ StatusCode: 0 })
    expect(await stateOf(path)).toBe('exited')
  })

  it('refuses what it does not know', async () => {
    await expect(api.call('POST', '/containers/absent/start')).rejects.toThrow(/404 .*the stub engine has no POST/)
  })
})
