import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseReference } from './reference.js'

const DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`

describe('parseReference', () => {
  it.each([
    ['nginx', 'docker.io', 'library/nginx', 'latest', 'nginx:latest', 'docker.io/library/nginx:latest'],
    ['nginx:1.27', 'docker.io', 'library/nginx', '1.27', 'nginx:1.27', 'docker.io/library/nginx:1.27'],
    ['docker.io/nginx', 'docker.io', 'library/nginx', 'latest', 'nginx:latest', 'docker.io/library/nginx:latest'],
    ['index.docker.io/team/app', 'docker.io', 'team/app', 'latest', 'team/app:latest', 'docker.io/team/app:latest'],
    ['localhost/app', 'localhost', 'app', 'latest', 'localhost/app:latest', 'localhost/app:latest'],
    ['localhost:5000', 'docker.io', 'library/localhost', '5000', 'localhost:5000', 'docker.io/library/localhost:5000'],
    ['127.0.0.1:5000/a/b:c', '127.0.0.1:5000', 'a/b', 'c', '127.0.0.1:5000/a/b:c', '127.0.0.1:5000/a/b:c'],
    ['[::1]:5000/a', '[::1]:5000', 'a', 'latest', '[::1]:5000/a:latest', '[::1]:5000/a:latest'],
    [
      'registry.example/a__b/c-d.e',
      'registry.example',
      'a__b/c-d.e',
      'latest',
      'registry.example/a__b/c-d.e:latest',
      'registry.example/a__b/c-d.e:latest',
    ],
    ['HOST/app', 'HOST', 'app', 'latest', 'HOST/app:latest', 'HOST/app:latest'],
  ])('reads %s', (text, registry, repository, tag, familiar, canonical) => {
    expect(parseReference(text)).toEqual({ registry, repository, tag, familiar, canonical })
  })

  it('adds no tag to a digest', () => {
    expect(parseReference(`app@${DIGEST}`)).toEqual({
      registry: 'docker.io',
      repository: 'library/app',
      digest: DIGEST,
      familiar: `app@${DIGEST}`,
      canonical: `docker.io/library/app@${DIGEST}`,
    })
    expect(parseReference(`app:1@${DIGEST}`)).toMatchObject({ tag: '1', digest: DIGEST, familiar: `app:1@${DIGEST}` })
  })

  it.each([
    '',
    ' ',
    'a b',
    'UPPER',
    'a//b',
    '/a',
    'a/',
    'a:',
    ':a',
    'a@',
    'a@sha256:abc',
    `a@${DIGEST.toUpperCase()}`,
    '-a',
    'a..b',
    'a___b',
    '../a',
    'a:-x',
    'http://host/a',
    '0123456789abcdef'.repeat(4),
    'a'.repeat(256),
    `host.example:port/a`,
    'a\n',
    'a:b\n',
  ])('refuses %j', (text) => {
    expect(() => parseReference(text)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG', field: 'config.image' }))
  })

  it('does not repeat a password', () => {
    for (const text of ['https://me:secret@host.example/app', 'me:secret@host.example/app']) {
      expect(() => parseReference(text)).toThrow(expect.not.objectContaining({ message: expect.stringContaining('secret') }))
    }
  })

  it('gives the same for what it gave, and refuses everything else typed', () => {
    const part = fc.stringMatching(/^[a-z0-9]{1,8}([._-][a-z0-9]{1,4})?$/)
    const made = fc
      .tuple(
        fc.option(fc.constantFrom('localhost:5000', 'host.example', 'docker.io')),
        fc.array(part, { minLength: 1, maxLength: 3 }),
        fc.option(part),
      )
      .map(([host, path, tag]) => `${host ? `${host}/` : ''}${path.join('/')}${tag ? `:${tag}` : ''}`)
    fc.assert(
      fc.property(fc.oneof(made, fc.string(), fc.stringMatching(/^[a-zA-Z0-9/:.@_-]{0,40}$/)), (text) => {
        try {
          const { canonical, familiar, ...rest } = parseReference(text)
          expect(parseReference(canonical)).toEqual({ canonical, familiar, ...rest })
          expect(parseReference(familiar)).toEqual({ canonical, familiar, ...rest })
        } catch (error) {
          expect(error).toMatchObject({ code: 'INVALID_CONFIG' })
        }
      }),
      { numRuns: 2000 },
    )
  })
})
