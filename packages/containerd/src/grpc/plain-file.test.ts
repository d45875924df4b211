/** What the build makes of generated descriptors says the same as they do. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { DescFile } from '@bufbuild/protobuf'
import { describe, expect, it } from 'vitest'
import { plainData } from '../../tsup.descriptors.js'
import { plainFile } from './plain-file.js'

const GENERATED = join(import.meta.dirname, 'generated')

/** What it was made of, what leads back upwards, and the names in JSON, which plain data does not have. */
const LEFT_OUT = new Set(['proto', 'parent', 'file', 'jsonName'])
/** Other descriptors, of which the name tells enough. */
const REFERENCES = new Set(['message', 'enum', 'input', 'output', 'oneof'])

function told(file: DescFile): unknown {
  const text = JSON.stringify(file, (key, value: unknown) => {
    if (LEFT_OUT.has(key)) return undefined
    if (key === 'dependencies') return (value as DescFile[]).map(({ name }) => name)
    return REFERENCES.has(key) && value ? String(value) : value
  })
  return JSON.parse(text)
}

describe('a file of plain data', () => {
  it.each(readdirSync(GENERATED))('says what %s says', async (module) => {
    const exported = (await import(join(GENERATED, module))) as Record<string, unknown>
    const file = Object.entries(exported).find(([name]) => name.startsWith('file_'))?.[1] as DescFile
    const bytes = /fileDesc\("([^"]+)"/.exec(readFileSync(join(GENERATED, module), 'utf8'))?.[1] as string
    const data = plainData(bytes)
    if (data === undefined) throw new Error('no plain data')
    expect(file.messages.length + file.enums.length).toBeGreaterThan(0)
    expect(told(plainFile(data, file.dependencies))).toEqual(told(file))
  })

  it('is not made of what it could not tell', () => {
    // A file in proto2, which says so by saying nothing: field 1 is its name.
    expect(plainData(Buffer.from('\n\x07a.proto').toString('base64'))).toBeUndefined()
  })
})
