/** Trees as tar streams, by the host's tar. What comes in is read by us first: tar gets only entries that stay below. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { stat } from 'node:fs/promises'
import { basename, dirname, posix } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { invalidConfig, VMKitError } from '@vmkit/core/driver'
import { DRIVER, systemError } from './errors.js'
import type { Host } from './host.js'
import { needTool } from './main-command.js'

const BLOCK = 512

export async function* packFolder(host: Host, path: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const isFolder = (await stat(path)).isDirectory()
  const what = isFolder ? ['-C', path, '--', '.'] : ['-C', dirname(path), '--', `./${basename(path)}`]
  const tar = spawn(needTool(host, 'tar'), ['-cf', '-', ...what], {
    env: {},
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
    killSignal: 'SIGKILL',
  })
  const ended = endOf(tar)
  try {
    yield* tar.stdout as Readable
    await ended
  } finally {
    tar.kill('SIGKILL')
    await ended.catch(() => {})
  }
}

/** @throws VMKitError `INVALID_CONFIG` for an entry that would leave the folder */
export async function unpackInto(host: Host, folder: string, content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
  // Without --absolute-names, GNU tar puts off links that lead out until everything else is there; busybox refuses them.
  const tar = spawn(needTool(host, 'tar'), ['-xf', '-', '-C', folder, '--no-same-owner'], {
    env: {},
    stdio: ['pipe', 'ignore', 'pipe'],
    signal,
    killSignal: 'SIGKILL',
  })
  const ended = endOf(tar)
  ended.catch(() => {})
  try {
    await pipeline(checked(content), tar.stdin as NonNullable<typeof tar.stdin>, { signal })
    await ended
  } catch (error) {
    tar.kill('SIGKILL')
    const failure = await ended.then(
      () => error,
      (why: unknown) => (error instanceof VMKitError ? error : why),
    )
    throw systemError(failure)
  }
}

async function endOf(tar: ChildProcess): Promise<void> {
  let message = ''
  tar.stderr?.setEncoding('utf8').on('data', (text: string) => {
    message = (message + text).slice(-2000)
  })
  const [code] = (await once(tar, 'close')) as [number | null]
  if (code !== 0) throw new VMKitError('BACKEND_ERROR', `tar failed: ${message.trim() || 'it was killed'}`, { driver: DRIVER })
}

/** Passes a tar through while every entry stays below: no absolute name, no `..`, and no link to such a place. */
export async function* checked(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let pending = Buffer.alloc(0)
  let skip = 0
  let override: { kind: string; left: number; text: Buffer[] } | undefined
  const names: { path?: string; linkpath?: string } = {}
  for await (const chunk of content) {
    pending = pending.length === 0 ? Buffer.from(chunk) : Buffer.concat([pending, chunk])
    let at = 0
    while (pending.length - at >= BLOCK) {
      const block = pending.subarray(at, at + BLOCK)
      at += BLOCK
      if (skip > 0) {
        skip -= 1
        if (override) {
          override.text.push(Buffer.from(block.subarray(0, Math.min(BLOCK, override.left))))
          override.left -= BLOCK
          if (skip === 0) {
            Object.assign(names, overrides(override.kind, Buffer.concat(override.text).toString('utf8')))
            override = undefined
          }
        }
        continue
      }
      if (block.every((byte) => byte === 0)) continue
      const header = parseHeader(block)
      skip = Math.ceil(header.size / BLOCK)
      if ('LKxg'.includes(header.type)) {
        override = { kind: header.type, left: header.size, text: [] }
        continue
      }
      checkEntry(names.path ?? header.name, header.type, names.linkpath ?? header.link)
      names.path = undefined
      names.linkpath = undefined
    }
    yield pending.subarray(0, at)
    pending = Buffer.from(pending.subarray(at))
  }
  if (pending.length > 0) yield pending
}

interface Header {
  name: string
  size: number
  type: string
  link: string
}

/** POSIX ustar, and GNU's binary form of a size over 8 GiB. */
function parseHeader(block: Buffer): Header {
  const text = (from: number, length: number): string => {
    const field = block.subarray(from, from + length)
    const end = field.indexOf(0)
    return field.toString('utf8', 0, end < 0 ? length : end)
  }
  const isUstar = text(257, 5) === 'ustar'
  const prefix = isUstar && block[263] === 0x30 ? text(345, 155) : ''
  const sizeField = block.subarray(124, 136)
  const isBinary = ((sizeField[0] as number) & 0x80) !== 0
  const size = isBinary ? Number(sizeField.readBigUInt64BE(4)) : Number.parseInt(text(124, 12).trim() || '0', 8)
  if (!Number.isSafeInteger(size) || size < 0)
    throw invalidConfig('tar', 'a tar archive', 'a header with a size that is none', { driver: DRIVER })
  const name = text(0, 100)
  const type = String.fromCharCode(block[156] as number)
  // Links and devices have no content, whatever their size says.
  return { name: prefix ? `${prefix}/${name}` : name, size: '123456'.includes(type) ? 0 : size, type, link: text(157, 100) }
}

/** Names of the next entry: GNU's L and K, or the records of a pax header: `length key=value\n`. */
function overrides(kind: string, text: string): { path?: string; linkpath?: string } {
  const value = text.replace(/\0.*$/s, '')
  if (kind === 'L') return { path: value }
  if (kind === 'K') return { linkpath: value }
  const path = /(?:^|\n)\d+ path=([^\n]*)/.exec(text)?.[1]
  const linkpath = /(?:^|\n)\d+ linkpath=([^\n]*)/.exec(text)?.[1]
  return { ...(path === undefined ? {} : { path }), ...(linkpath === undefined ? {} : { linkpath }) }
}

function checkEntry(name: string, type: string, link: string): void {
  if (leaves(name)) throw invalidConfig('tar', 'entries that stay below the folder', name, { driver: DRIVER })
  if (type === '2' && (posix.isAbsolute(link) || leaves(posix.join(posix.dirname(name), link)))) {
    throw invalidConfig('tar', 'links that stay below the folder', `${name} -> ${link}`, { driver: DRIVER })
  }
  if (type === '1' && leaves(link)) throw invalidConfig('tar', 'links that stay below the folder', `${name} -> ${link}`, { driver: DRIVER })
  if (type === '3' || type === '4') throw invalidConfig('tar', 'no device files', name, { driver: DRIVER })
}

function leaves(name: string): boolean {
  const normal = posix.normalize(name)
  return posix.isAbsolute(name) || normal === '..' || normal.startsWith('../')
}
