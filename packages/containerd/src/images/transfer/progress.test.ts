import { expect, it } from 'vitest'
import { progressOf } from './progress.js'

const digest = `sha256:${'a'.repeat(64)}`
const layer = { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest, size: 100 }
const manifest = { schemaVersion: 2, mediaType: '', config: { ...layer, digest: `sha256:${'b'.repeat(64)}` }, layers: [layer] } as const
const told = (event: string, name: string, progress = 0n) => progressOf({ event, name, progress }, { ...manifest, layers: [layer] })

it('tells of layers what our own client tells of them, and of nothing else', () => {
  const step = { phase: 'download', item: digest, total: 100, unit: 'bytes' }
  expect(told('waiting', `layer-${digest}`)).toEqual({ ...step, current: 0 })
  expect(told('downloading', `layer-${digest}`, 40n)).toEqual({ ...step, current: 40 })
  expect(told('complete', `layer-${digest}`, 100n)).toEqual({ ...step, current: 100 })
  for (const name of [
    '',
    'registry/repository:1',
    `config-${manifest.config.digest}`,
    `manifest-${digest}`,
    `layer-sha256:${'c'.repeat(64)}`,
  ])
    expect(told('downloading', name)).toBeUndefined()
  expect(told('extracting', `layer-${digest}`)).toBeUndefined()
})
