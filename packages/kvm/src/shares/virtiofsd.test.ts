import { expect, it } from 'vitest'
import { virtiofsdArguments } from './virtiofsd.js'

const served = { socket: '/s/fs0.sock', source: '/a, b\\c', readOnly: false }

it('the path of a folder is no syntax, for the one of QEMU and the one in Rust', () => {
  const path = '/usr/lib/qemu/virtiofsd'
  expect(virtiofsdArguments({ path, isLegacy: true, readOnly: false }, served)).toEqual([
    '--socket-path=/s/fs0.sock',
    '-o',
    'source=/a\\, b\\\\c',
  ])
  expect(virtiofsdArguments({ path, isLegacy: false, readOnly: true }, { ...served, readOnly: true })).toEqual([
    '--socket-path=/s/fs0.sock',
    '--shared-dir=/a, b\\c',
    '--readonly',
  ])
})
