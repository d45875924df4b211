import { createManager } from '@vmkit/core'
import { mock, mockBackend } from '@vmkit/mock/driver'
import { expect, it, vi } from 'vitest'
import { jobs, mockServer } from '../src/drivers.js'
import { runJob } from '../src/job.js'

const never = new AbortController().signal

it.each(['start', 'getMetrics', 'pause', 'stop'])('deletes its machine when %s fails', async (operation) => {
  const backend = mockBackend({ programs: { server: mockServer } })
  await using manager = createManager({ drivers: { mock: mock({ backend }) } })
  backend.inject({ operation, error: 'RESOURCE_EXHAUSTED', message: 'no memory left' })
  await expect(silently(async () => runJob(manager.lookup('mock'), await mockJob(), never))).rejects.toMatchObject({
    code: 'RESOURCE_EXHAUSTED',
  })
  expect(await manager.list({ driver: 'mock' })).toEqual([])
})

it('goes on without what a driver lacks, and says why', async () => {
  const without = { pause: 'it never sleeps', exec: 'nobody gets in' }
  await using manager = createManager({ drivers: { mock: mock({ programs: { server: mockServer }, without }) } })
  const { value, printed } = await silently(async () => runJob(manager.lookup('mock'), await mockJob(), never))
  expect(value.filter(({ ms }) => ms === undefined).map(({ step }) => step)).toEqual(['exec', 'pause', 'resume', 'call again'])
  expect(printed).toMatch(/exec +- {2}nobody gets in/)
  expect(printed).toMatch(/pause +- {2}it never sleeps/)
})

function mockJob() {
  return (jobs.mock as NonNullable<typeof jobs.mock>)()
}

async function silently<T>(run: () => Promise<T>): Promise<{ value: T; printed: string }> {
  const log = vi.spyOn(console, 'log').mockImplementation(() => {})
  try {
    return { value: await run(), printed: log.mock.calls.flat().join('\n') }
  } finally {
    log.mockRestore()
  }
}
