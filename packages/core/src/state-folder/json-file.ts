import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { errno } from './system-error.js'

/** Whole or not at all: a reader sees the old text or the new one. Bytes under the key `content` are kept as bytes. */
export function writeJson(path: string, value: unknown): void {
  const temporary = `${path}.${process.pid}.tmp`
  writeFileSync(temporary, JSON.stringify(value, encode), { mode: 0o600 })
  renameSync(temporary, path)
}

/** `undefined` when there is no such file. */
export function readJson<T>(path: string): T | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8'), decode) as T
  } catch (error) {
    if (errno(error) === 'ENOENT' || errno(error) === 'ENOTDIR') return undefined
    throw error
  }
}

// Only the content of `files` holds bytes.
function encode(key: string, value: unknown): unknown {
  return key === 'content' && isBytes(value) ? { base64: Buffer.from(value).toString('base64') } : value
}

function isBytes(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array
}

function decode(key: string, value: unknown): unknown {
  if (key !== 'content' || typeof value !== 'object' || value === null) return value
  return new Uint8Array(Buffer.from((value as { base64: string }).base64, 'base64'))
}
