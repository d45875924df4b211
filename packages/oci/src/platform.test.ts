import { expect, it } from 'vitest'
import { choosePlatform, formatPlatform, hostPlatform, parsePlatform } from './platform.js'

const offer = (...texts: string[]) => texts.map((text) => ({ mediaType: '', digest: text, size: 0, platform: parsePlatform(text) }))
const choose = (wanted: string, ...offered: string[]) => choosePlatform(offer(...offered), parsePlatform(wanted))?.digest

it('is Linux on the architecture of this host', () => {
  expect(hostPlatform('x64')).toEqual({ os: 'linux', architecture: 'amd64' })
  expect(hostPlatform('arm64')).toEqual({ os: 'linux', architecture: 'arm64' })
  expect(formatPlatform(hostPlatform('arm'))).toBe('linux/arm/v7')
})

it('reads what people write', () => {
  expect(parsePlatform('aarch64')).toEqual({ os: 'linux', architecture: 'arm64' })
  expect(parsePlatform('linux/arm/v6')).toEqual({ os: 'linux', architecture: 'arm', variant: 'v6' })
  for (const text of ['', 'a/b/c/d', 'linux//', 'linux/a b'])
    expect(() => parsePlatform(text)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }))
})

it('takes the newest variant that the processor runs', () => {
  expect(choose('linux/arm/v7', 'linux/arm/v5', 'linux/arm/v6', 'linux/arm64')).toBe('linux/arm/v6')
  expect(choose('linux/arm/v6', 'linux/arm/v7')).toBeUndefined()
  expect(choose('linux/arm64', 'linux/arm/v7', 'linux/arm64/v8')).toBe('linux/arm64/v8')
  expect(choose('linux/amd64', 'linux/amd64/v3', 'linux/amd64')).toBe('linux/amd64')
  expect(choose('linux/amd64', 'windows/amd64', 'linux/386')).toBeUndefined()
})

it('takes an image that names no platform, and never an attestation', () => {
  const bare = { mediaType: '', digest: 'bare', size: 0 }
  const attestation = { ...bare, digest: 'attestation', annotations: { 'vnd.docker.reference.type': 'attestation-manifest' } }
  expect(choosePlatform([attestation, bare], hostPlatform())).toBe(bare)
  expect(choosePlatform([attestation], hostPlatform())).toBeUndefined()
})
