import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { envScript, findAccount, machineEnv, quote } from './env.js'

it('takes from the host what a process cannot do without, and no secret of the app', () => {
  const env = machineEnv(
    { A: '1', LANG: 'C' },
    { PATH: '/p', LANG: 'de', LC_ALL: 'x', AWS_SECRET_ACCESS_KEY: 's', NODE_OPTIONS: '-r x', HOME: '/h' },
  )
  expect(env).toEqual({ PATH: '/p', LANG: 'C', LC_ALL: 'x', HOME: '/h', A: '1' })
  expect(machineEnv({}, {}).PATH).toContain('/bin')
})

it('quotes any text as one word', () => {
  const text = fc.string({ unit: 'grapheme' }).filter((value) => !value.includes('\0'))
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 20 }), (values) => {
      const out = execFileSync('/bin/sh', ['-c', `printf '%s\\0' ${values.map(quote).join(' ')}`]).toString()
      expect(out.split('\0').slice(0, -1)).toEqual(values)
    }),
    { numRuns: 30 },
  )
})

it('keeps names that no shell can set for env(1)', () => {
  const { script, rest } = envScript({ A: "it's", 'a.b': 'c', UID: '1', 'BASH_FUNC_x%%': '() { :; }', '1x': '' })
  expect(script).toBe(`export A='it'\\''s'\n`)
  expect(rest).toEqual(['a.b=c', 'UID=1', 'BASH_FUNC_x%%=() { :; }', '1x='])
})

it('looks accounts up by name and number', () => {
  const passwd = 'root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/var/www:/bin/sh\n'
  const groups = 'root:x:0:\nwww:x:35:\n'
  expect(findAccount('web', passwd, groups)).toEqual({ uid: 33, gid: 34, name: 'web', home: '/var/www' })
  expect(findAccount('33:www', passwd, groups)).toEqual({ uid: 33, gid: 35, name: 'web', home: '/var/www' })
  expect(findAccount('1000', passwd, groups)).toEqual({ uid: 1000, gid: 1000 })
  expect(findAccount('1000:7', passwd, groups)).toEqual({ uid: 1000, gid: 7 })
  for (const user of ['nobody', 'web:nogroup', '']) expect(findAccount(user, passwd, groups)).toBeUndefined()
})
