import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { conformance } from '@vmkit/conformance'
import { afterAll } from 'vitest'
import { fixture } from './kit.js'

const folder = mkdtempSync(join(tmpdir(), 'vmkit-kvm-data-'))
const path = join(folder, 'data.img')
writeFileSync(path, Buffer.alloc(2 ** 20))
afterAll(() => rmSync(folder, { recursive: true }))

conformance({ ...fixture(), device: { type: 'disk', path, readOnly: true } })
