import { expect, it } from 'vitest'
import { findProgram, interpreterOf } from './command.js'

const context = { path: '/usr/bin:/bin', workdir: '/', operation: 'start', field: 'config.command.0' }

it('finds programs as execvp does', () => {
  expect(findProgram('sh', context)).toMatch(/^\/(usr\/)?bin\/sh$/)
  expect(findProgram('bin/sh', context)).toBe('/bin/sh')
  expect(findProgram('sh', { ...context, path: '', workdir: '/bin' })).toBe('/bin/sh')
  expect(() => findProgram('sh', { ...context, path: '/nonexistent' })).toThrow(
    expect.objectContaining({ code: 'INVALID_CONFIG', field: 'config.command.0' }),
  )
})

it('reads the interpreter of a script', () => {
  expect(interpreterOf('#!/bin/sh -e\necho')).toBe('/bin/sh')
  expect(interpreterOf('#! \t/usr/bin/env node\n')).toBe('/usr/bin/env')
  expect(interpreterOf('\x7fELF')).toBeUndefined()
  expect(interpreterOf('')).toBeUndefined()
})
