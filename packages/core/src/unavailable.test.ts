import { expect, it } from 'vitest'
import { VMKitError } from './errors.js'
import { unavailable } from './unavailable.js'

const missing = { events: 'never' }

it('passes on what somebody can mend, with all that helps', () => {
  const tried = [{ target: '/run/x.sock', result: 'EACCES' }]
  const error = new VMKitError('PERMISSION_DENIED', 'not for you', {
    hint: 'join the group',
    field: 'options.socketPath',
    evidence: { tried },
  })
  expect(unavailable(error, missing)).toEqual({
    available: false,
    reason: 'not for you',
    missing,
    code: 'PERMISSION_DENIED',
    hint: 'join the group',
    field: 'options.socketPath',
    tried,
  })
})

it.each(['BACKEND_UNAVAILABLE', 'TIMEOUT', 'BACKEND_ERROR', 'NOT_FOUND'] as const)('takes %s for a backend that is not there', (code) => {
  expect(unavailable(new VMKitError(code, 'it says'), missing)).toEqual({ available: false, reason: 'it says', missing })
})

it('takes what is no error of ours, too', () => {
  expect(unavailable(new Error('connect ENOENT'), missing)).toEqual({ available: false, reason: 'connect ENOENT', missing })
})
