import { expect, it } from 'vitest'
import { parseChallenges } from './auth.js'

it.each<[string, unknown]>([
  ['Basic realm="x"', [{ scheme: 'basic', parameters: { realm: 'x' } }]],
  ['Basic', [{ scheme: 'basic', parameters: {} }]],
  [
    'Bearer realm="https://a/token?x=1",service="s, t",scope="repository:a:pull,push"',
    [{ scheme: 'bearer', parameters: { realm: 'https://a/token?x=1', service: 's, t', scope: 'repository:a:pull,push' } }],
  ],
  ['BEARER Realm=https://a , Service="a\\"b"', [{ scheme: 'bearer', parameters: { realm: 'https://a', service: 'a"b' } }]],
  [
    'Negotiate, Basic realm="a", Bearer realm="b"',
    [
      { scheme: 'basic', parameters: { realm: 'a' } },
      { scheme: 'bearer', parameters: { realm: 'b' } },
    ],
  ],
  ['Digest realm="basic"', []],
  ['', []],
])('reads the challenge %s', (header, challenges) => {
  expect(parseChallenges(header).map(({ scheme, parameters }) => ({ scheme, parameters: { ...parameters } }))).toEqual(challenges)
})
