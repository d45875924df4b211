/** Runs scripts in a sandbox. Its files are those of another kernel: they are reached by programs of its image, as root. */
import { type CallContext, type ExecSession, VMKitError } from '@vmkit/core/driver'
import type { Inner } from '../inner.js'
import { EXIT } from './scripts.js'

type ErrorCode = VMKitError['code']

export interface Script {
  text: string
  /** `$1` and so on. */
  args: readonly string[]
  input?: Iterable<Uint8Array> | AsyncIterable<Uint8Array>
}

const MOST_WORDS = 4096

/** What a script writes. @throws VMKitError as the exit code says, when everything it wrote was taken */
export async function* runInside(inner: Inner, id: string, path: string, script: Script, ctx: CallContext): AsyncGenerator<Uint8Array> {
  const session = await start(inner, id, script, ctx)
  const end = (): void => void session.kill('SIGKILL').catch(() => {})
  ctx.signal.addEventListener('abort', end)
  let words = ''
  let broken: { error: unknown } | undefined
  try {
    void feed(session, script.input).catch((error: unknown) => {
      broken = { error }
      end()
    })
    for await (const { source, data } of session.output) {
      if (source === 'stdout') yield data
      else if (words.length < MOST_WORDS) words += Buffer.from(data).toString('utf8')
    }
    const { exitCode } = await session.wait()
    ctx.signal.throwIfAborted()
    if (broken) throw broken.error
    if (exitCode !== 0) throw scriptError(exitCode, words.trim(), path, id)
  } finally {
    ctx.signal.removeEventListener('abort', end)
    await session[Symbol.asyncDispose]()
  }
}

export async function textInside(inner: Inner, id: string, path: string, script: Script, ctx: CallContext): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of runInside(inner, id, path, script, ctx)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function start(inner: Inner, id: string, { text, args, input }: Script, ctx: CallContext): Promise<ExecSession> {
  const request = { command: ['/bin/sh', '-c', text, 'sh', ...args], user: '0', env: { LC_ALL: 'C' }, stdin: input !== undefined }
  try {
    return await inner.execStream(id, request, ctx)
  } catch (error) {
    if (error instanceof VMKitError && NO_PROGRAM.test(error.message)) throw lacking('/bin/sh', id, error)
    throw error
  }
}

/** How runc, and Kata's agent, say that there is no such program. */
const NO_PROGRAM = /no such file or directory|executable file not found|ENOENT|os error 2\b/i

/** Rejects with what the source threw. A command that takes no more is none of it: its exit tells why. */
async function feed(session: ExecSession, input: Script['input']): Promise<void> {
  if (!input) return
  for await (const chunk of input) {
    const isTaken = await session.stdin.write(chunk).then(
      () => true,
      () => false,
    )
    if (!isTaken) return
  }
  await session.stdin.end()
}

function lacking(program: string, vmId: string, cause?: unknown): VMKitError {
  return new VMKitError(
    'UNSUPPORTED',
    `The files of a sandbox that runs are reached by programs of its image, and this image has no \`${program}\``,
    {
      driver: 'kata',
      vmId,
      capability: program === 'tar' ? 'files.archive' : 'files',
      hint: 'Stop the machine: then its files are reached through its snapshot',
      cause,
    },
  )
}

const WORDS: readonly [RegExp, ErrorCode][] = [
  [/no such file or directory/i, 'NOT_FOUND'],
  [/permission denied|read-only file system|operation not permitted/i, 'PERMISSION_DENIED'],
  [/no space left on device|quota exceeded/i, 'RESOURCE_EXHAUSTED'],
]

function scriptError(code: number | null, words: string, path: string, vmId: string): VMKitError {
  const fail = (kind: ErrorCode, message: string, hint?: string) => new VMKitError(kind, message, { driver: 'kata', vmId, hint })
  switch (code) {
    case EXIT.absent:
      return fail('NOT_FOUND', `There is no ${path} in the machine`)
    case EXIT.folder:
      return fail('GUEST_ERROR', `${path} is a folder`, 'Use files.list or copyOut')
    case EXIT.noFile:
      return fail('GUEST_ERROR', `${path} is not a regular file`)
    case EXIT.noFolder:
      return fail('GUEST_ERROR', `${path} is not a folder`)
    case EXIT.noProgram:
      return lacking(words.split('\n').at(-1) ?? '', vmId)
    default: {
      const [, kind = 'GUEST_ERROR'] = WORDS.find(([pattern]) => pattern.test(words)) ?? []
      return fail(kind, `${path} cannot be used: ${words === '' ? `a command in the machine ended with ${code}` : words}`)
    }
  }
}
