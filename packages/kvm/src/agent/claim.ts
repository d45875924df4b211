/** Which program of the host holds which port of a guest: a port has one client, and one that waits for it would not know. */

import { randomUUID } from 'node:crypto'
import { closeSync, openSync, readFileSync, renameSync, rmSync, unlinkSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { errno, type Identity, isAlive, ownIdentity } from '@vmkit/core/state-folder'
import { EXEC_PORTS } from '../boot/channels.js'

export interface Claim {
  port: number
  release(): void
}

/** A free port, or `undefined` when all are held by programs that live. */
export function claimPort(folder: string): Claim | undefined {
  for (let port = 0; port < EXEC_PORTS; port += 1) {
    const path = join(folder, `exec${port}.owner`)
    if (take(path) || (isLeft(path) && take(path))) return { port, release: releasing(path) }
  }
  return undefined
}

/** Once: the next time it would be somebody else's. */
function releasing(path: string): () => void {
  let isHeld = true
  return () => {
    if (isHeld) rmSync(path, { force: true })
    isHeld = false
  }
}

function take(path: string): boolean {
  try {
    const file = openSync(path, 'wx', 0o600)
    writeSync(file, JSON.stringify(ownIdentity()))
    closeSync(file)
    return true
  } catch (error) {
    if (errno(error) === 'EEXIST') return false
    throw error
  }
}

/** Takes away the claim of a program that has ended. Only one of several that try moves it. */
function isLeft(path: string): boolean {
  const aside = `${path}.${randomUUID()}`
  try {
    if (ownerLives(path)) return false
    renameSync(path, aside)
    const stolen = ownerLives(aside)
    // Somebody was faster, and this is already the claim of the next.
    if (stolen) renameSync(aside, path)
    else unlinkSync(aside)
    return !stolen
  } catch (error) {
    // Let go of, or taken, since it was looked at.
    if (errno(error) === 'ENOENT') return true
    throw error
  }
}

function ownerLives(path: string): boolean {
  const text = readFileSync(path, 'utf8')
  // Empty for the moment between making and writing it.
  if (text === '') return true
  return isAlive(JSON.parse(text) as Identity)
}
