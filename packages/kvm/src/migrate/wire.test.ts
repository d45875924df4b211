import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { afterAll, expect, it } from 'vitest'
import { connectWire, listen } from './wire.js'

const folder = mkdtempSync(join(tmpdir(), 'vmkit-kvm-wire-'))
afterAll(() => rmSync(folder, { recursive: true }))

it('sends a file in many parts, without a word of Node about listeners', async () => {
  const warnings: Error[] = []
  const note = (warning: Error): void => void warnings.push(warning)
  process.on('warning', note)
  const source = join(folder, 'source')
  const content = randomBytes(24 * 2 ** 20)
  writeFileSync(source, content)
  const handlers = { fileFor: (name: string) => join(folder, name), call: async () => null }
  const server = await listen({ path: join(folder, 'in.sock') }, 'secret', undefined, handlers)
  const wire = await connectWire({ address: server.address, secret: 'secret' }, new AbortController().signal)
  try {
    expect(await wire.send('target', source, () => {})).toBe(content.length)
    expect(readFileSync(join(folder, 'target')).equals(content)).toBe(true)
    await turn()
    expect(warnings).toEqual([])
  } finally {
    process.off('warning', note)
    wire.close()
    await server.close()
  }
})
