/**
 * Memory that many machines start from: a file that each of them maps for itself. What they only read they share; what they write is
 * their own. Nothing is read ahead, so that a start costs what the guest touches.
 */
import { constants } from 'node:fs'
import { copyFile, type FileHandle, open, rename, rm } from 'node:fs/promises'
import { abortReason, systemError } from '../errors.js'

const CHUNK = 2 ** 20
/** Of an ordinary file system and of memory; a hole is of whole blocks. */
const BLOCK = 4096
const ZEROS = Buffer.alloc(BLOCK)

/** A copy of the memory of a machine that stands still. What is zero stays a hole. */
export async function copyMemory(from: string, to: string, signal: AbortSignal): Promise<void> {
  const partial = `${to}.part`
  try {
    // Where the file system shares blocks between files this takes no time.
    await copyFile(from, partial, constants.COPYFILE_FICLONE_FORCE).catch(() => copySparsely(from, partial, signal))
    await rename(partial, to)
  } catch (error) {
    await rm(partial, { force: true })
    throw signal.aborted ? abortReason(signal) : systemError(error)
  }
}

async function copySparsely(from: string, to: string, signal: AbortSignal): Promise<void> {
  let source: FileHandle | undefined
  let target: FileHandle | undefined
  try {
    source = await open(from, 'r')
    target = await open(to, 'w', 0o600)
    const { size } = await source.stat()
    await target.truncate(size)
    const chunk = Buffer.alloc(CHUNK)
    for (let at = 0; at < size; at += CHUNK) {
      signal.throwIfAborted()
      const { bytesRead } = await source.read(chunk, 0, CHUNK, at)
      for (const [start, end] of dataIn(chunk.subarray(0, bytesRead))) await target.write(chunk, start, end - start, at + start)
    }
  } finally {
    await source?.close()
    await target?.close()
  }
}

/** The stretches of blocks that are not all zero. */
export function dataIn(chunk: Buffer): [start: number, end: number][] {
  const stretches: [number, number][] = []
  for (let start = 0; start < chunk.length; start += BLOCK) {
    const end = Math.min(start + BLOCK, chunk.length)
    if (ZEROS.compare(chunk, start, end, 0, end - start) === 0) continue
    const last = stretches.at(-1)
    if (last?.[1] === start) last[1] = end
    else stretches.push([start, end])
  }
  return stretches
}
