import type { Hash } from 'node:crypto'

/** Importing node:crypto takes 8 ms: it is loaded with the first digest. */
export function createHash(algorithm: string): Hash {
  return process.getBuiltinModule('node:crypto').createHash(algorithm)
}
