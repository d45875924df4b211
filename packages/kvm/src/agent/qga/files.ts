/** Files of a guest with a system of its own: QEMU's guest agent reads and writes them, a shell that it starts does the rest. */
import { randomBytes } from 'node:crypto'
import { type FileEntry, VMKitError } from '@vmkit/core/driver'
import type { Machine } from '../../state/store.js'
import { errnoIn, fileError } from '../file-error.js'
import { withAgent } from './conversation.js'
import { agentExec } from './exec.js'

/** Others wait for the end of each, and an agent under TCG reads some 300 kB a second. */
const CHUNK = 2 ** 16

/** Exit codes are errno's. The agent itself would wait at a FIFO for ever. */
const LOOK = '[ -e "$1" ] || exit 2; [ -d "$1" ] && exit 21; [ -p "$1" ] && exit 22; exit 0'
/** A link is written through, as a shell's `>` does. Tells the file that is filled, and the one that it becomes. */
const PREPARE = `p=$1
if [ -L "$p" ]; then t=$(readlink -f -- "$p"; echo x); t=\${t%?x}; [ -n "$t" ] && p=$t; fi
[ -d "$p" ] && exit 21
d=\${p%/*}; mkdir -p -- "\${d:-/}" || exit 125
(umask 077; : > "$d/$2") || exit 125
printf '%s\\000%s\\000' "$d/$2" "$p"`
const COMMIT = '[ -d "$2" ] && exit 21; chmod "$3" "$1" && mv -f -- "$1" "$2" || exit 125'
const DROP = 'rm -f -- "$1"'
/** Each name with a slash behind it, which no name holds. */
const LIST = `[ -e "$1" ] || [ -L "$1" ] || exit 2
[ -d "$1" ] || exit 20
cd -- "$1" || exit 13
set -- ./* ./.[!.]* ./..?*
for f do shift; if [ -e "$f" ] || [ -L "$f" ]; then set -- "$@" "$f"; fi; done
[ $# -eq 0 ] || printf '%s\\000' "$@" | xargs -0 stat -c '%f %s %Y %n/'
exit 0`
const REMOVE = '[ -e "$1" ] || [ -L "$1" ] || exit 2; rm -rf -- "$1" || exit 125'

const never = (): AbortSignal => new AbortController().signal

/** Of a system of its own nobody says where it works: relative paths begin at its root. */
function absolute(path: string): string {
  return `/${path}`.replace(/\/+/g, '/').replace(/(.)\/$/, '$1')
}

/** @throws VMKitError in the words of `fileError` */
async function shell(machine: Machine, script: string, [path, ...rest]: [string, ...string[]], signal: AbortSignal): Promise<string> {
  const command = ['/bin/sh', '-c', script, 'sh', path, ...rest]
  await using session = await agentExec(machine, { command, env: { LC_ALL: 'C' } }, signal)
  const said = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] }
  const end = (): void => void session.kill().catch(() => {})
  signal.addEventListener('abort', end, { once: true })
  try {
    for await (const { source, data } of session.output) if (source !== 'console') said[source].push(data)
  } finally {
    signal.removeEventListener('abort', end)
  }
  const { exitCode } = await session.wait()
  signal.throwIfAborted()
  if (exitCode === 0) return Buffer.concat(said.stdout).toString('utf8')
  const words = Buffer.concat(said.stderr).toString('utf8').trim()
  throw fileError(machine.id, path, errnoIn(words) ?? exitCode ?? 0, words.split('\n').at(-1) || 'a command of the guest')
}

/** What the agent refuses it tells in the words of strerror(3). */
async function call<T>(machine: Machine, path: string, command: string, args: object, signal: AbortSignal): Promise<T> {
  try {
    return await withAgent(machine, signal, (agent) => agent.call<T>(command, { ...args }))
  } catch (error) {
    const errno = error instanceof VMKitError && error.code === 'GUEST_ERROR' ? errnoIn(error.message) : undefined
    throw errno === undefined ? error : fileError(machine.id, path, errno, command)
  }
}

/** A handle is the agent's, not the connection's: it is closed whatever happened. */
async function open(machine: Machine, path: string, mode: 'r' | 'w', signal: AbortSignal): Promise<AsyncDisposable & { handle: number }> {
  const handle = await call<number>(machine, path, 'guest-file-open', { path, mode }, signal)
  return {
    handle,
    async [Symbol.asyncDispose]() {
      await call(machine, path, 'guest-file-close', { handle }, never()).catch(() => {})
    },
  }
}

interface Piece {
  count: number
  'buf-b64': string
  eof: boolean
}

export async function* readFile(machine: Machine, path: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const file = absolute(path)
  await shell(machine, LOOK, [file], signal)
  await using opened = await open(machine, file, 'r', signal)
  const { handle } = opened
  for (;;) {
    const { count, 'buf-b64': text, eof } = await call<Piece>(machine, file, 'guest-file-read', { handle, count: CHUNK }, signal)
    if (count > 0) yield Buffer.from(text, 'base64')
    if (eof || count === 0) return
  }
}

/** A file beside it, until it is whole. */
export async function writeFile(
  machine: Machine,
  path: string,
  content: AsyncIterable<Uint8Array>,
  mode: number,
  signal: AbortSignal,
): Promise<void> {
  const name = `.vmkit-${randomBytes(4).toString('hex')}`
  const [half = '', whole = ''] = (await shell(machine, PREPARE, [absolute(path), name], signal)).split('\0')
  try {
    await fill(machine, half, content, signal)
    signal.throwIfAborted()
    await shell(machine, COMMIT, [half, whole, mode.toString(8)], signal)
  } catch (error) {
    await shell(machine, DROP, [half], never()).catch(() => {})
    throw error
  }
}

async function fill(machine: Machine, path: string, content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
  await using opened = await open(machine, path, 'w', signal)
  const { handle } = opened
  for await (const piece of pieces(content)) {
    for (let at = 0; at < piece.length; ) {
      const text = piece.subarray(at).toString('base64')
      at += (await call<{ count: number }>(machine, path, 'guest-file-write', { handle, 'buf-b64': text }, signal)).count
    }
  }
  await call(machine, path, 'guest-file-flush', { handle }, signal)
}

/** Each costs a conversation, so small ones are put together. */
async function* pieces(content: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let held: Buffer[] = []
  let size = 0
  for await (const chunk of content) {
    for (let at = 0; at < chunk.length; at += CHUNK) {
      const part = Buffer.from(chunk.subarray(at, at + CHUNK))
      if (size + part.length > CHUNK) {
        yield Buffer.concat(held)
        held = []
        size = 0
      }
      held.push(part)
      size += part.length
    }
  }
  if (size > 0) yield Buffer.concat(held)
}

/** stat(2), st_mode. */
const TYPES = new Map<number, FileEntry['type']>([
  [0o100000, 'file'],
  [0o040000, 'directory'],
  [0o120000, 'symlink'],
])

export async function listFolder(machine: Machine, path: string, signal: AbortSignal): Promise<FileEntry[]> {
  return parseList(await shell(machine, LIST, [absolute(path)], signal))
}

export function parseList(text: string): FileEntry[] {
  return [...text.matchAll(/([0-9a-f]+) (\d+) (\d+) \.\/([^/]+)\/\n/g)].map(([, bits = '', size, seconds, name = '']) => {
    const mode = Number.parseInt(bits, 16)
    return {
      name,
      type: TYPES.get(mode & 0o170000) ?? 'other',
      size: Number(size),
      mode: mode & 0o7777,
      modifiedAt: Number(seconds) * 1000,
    }
  })
}

export async function removeFile(machine: Machine, path: string, signal: AbortSignal): Promise<void> {
  await shell(machine, REMOVE, [absolute(path)], signal)
}
