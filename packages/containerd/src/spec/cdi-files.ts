import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { CdiFile } from './cdi.js'

/** Where the CDI specification has the files, in rising order of precedence. */
const CDI_FOLDERS: readonly string[] = ['/etc/cdi', '/var/run/cdi']

/** All files that can be read; one that cannot is as if it were not there, since another tool may be writing it. */
export async function readCdiFiles(folders: readonly string[] = CDI_FOLDERS): Promise<CdiFile[]> {
  const files: CdiFile[] = []
  for (const folder of folders) {
    const names = (await readdir(folder).catch(() => [])).filter((name) => /\.(json|ya?ml)$/.test(name)).sort()
    for (const name of names) {
      const parsed = await parse(name, await readFile(join(folder, name), 'utf8').catch(() => ''))
      if (isCdiFile(parsed)) files.push(parsed)
    }
  }
  return files
}

async function parse(name: string, text: string): Promise<unknown> {
  try {
    return name.endsWith('.json') ? JSON.parse(text) : (await import('yaml')).parse(text)
  } catch {
    return undefined
  }
}

function isCdiFile(value: unknown): value is CdiFile {
  if (typeof value !== 'object' || value === null) return false
  const { cdiVersion, kind, devices } = value as Partial<CdiFile>
  return typeof cdiVersion === 'string' && typeof kind === 'string' && Array.isArray(devices)
}
