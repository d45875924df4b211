/** The scripts, by the shell and the GNU programs of this host. Those of busybox are met in the stand-in's machines. */
import { spawn } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type CallContext,
  channel,
  type ExecExit,
  type ExecRequest,
  type ExecSession,
  type OutputChunk,
  VMKitError,
} from '@vmkit/core/driver'
import { afterAll, beforeEach, expect, it } from 'vitest'
import type { Inner } from '../inner.js'
import { accountsInside, guestFiles } from './files.js'

const folder = mkdtempSync(join(tmpdir(), 'vmkit-kata-test-'))
afterAll(() => rmSync(folder, { recursive: true }))
beforeEach(() => {
  rmSync(folder, { recursive: true })
  mkdirSync(folder)
})
const ctx: CallContext = { signal: new AbortController().signal, deadline: undefined, report: () => {} }

/** A "sandbox" whose commands are processes of this host, in the folder. */
function inner(changes: { state?: string; path?: string; refuse?: string } = {}): Inner {
  return {
    getStatus: async () => ({ state: changes.state ?? 'running' }),
    async execStream(_id: string, { command: [program = '', ...args], env, stdin }: ExecRequest): Promise<ExecSession> {
      if (changes.refuse) throw new VMKitError('INVALID_CONFIG', changes.refuse)
      const child = spawn(program, args, { cwd: folder, env: { PATH: changes.path ?? process.env.PATH, ...env } })
      if (!stdin) child.stdin.end()
      child.stdin.on('error', () => {})
      const output = channel<OutputChunk>({ capacity: 16 })
      child.stdout.on('data', (data: Uint8Array) => void output.write({ source: 'stdout', data }))
      child.stderr.on('data', (data: Uint8Array) => void output.write({ source: 'stderr', data }))
      const ended = new Promise<ExecExit>((resolve) => child.on('close', (exitCode, signal) => resolve({ exitCode, signal })))
      void ended.then(() => output.end())
      return {
        output,
        stdin: {
          write: (data) => new Promise((resolve, reject) => void child.stdin.write(data, (error) => (error ? reject(error) : resolve()))),
          end: async () => void child.stdin.end(),
        },
        resize: async () => {},
        kill: async () => void child.kill('SIGKILL'),
        wait: () => ended,
        [Symbol.asyncDispose]: async () => void child.kill('SIGKILL'),
      }
    },
  } as unknown as Inner
}

const files = guestFiles(inner())
async function* of(...parts: (string | Error)[]) {
  for (const part of parts) {
    if (part instanceof Error) throw part
    yield Buffer.from(part)
  }
}
async function read(path: string, from = files): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const chunk of from.read('m', path, ctx)) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

it('writes a file as a whole, with the mode, and reads it', async () => {
  await files.write('m', 'deep/er/-f', of('one ', 'two'), { mode: 0o750 }, ctx)
  expect(await read('deep/er/-f')).toBe('one two')
  expect(statSync(join(folder, 'deep/er/-f')).mode & 0o7777).toBe(0o750)
  await files.write('m', join(folder, 'deep/er/-f'), of(''), {}, ctx)
  expect(await read(join(folder, 'deep/er/-f'))).toBe('')
})

it('keeps the old file, and nothing beside it, when the source breaks', async () => {
  writeFileSync(join(folder, 'a'), 'old')
  await expect(files.write('m', 'a', of('new', new Error('the source broke')), {}, ctx)).rejects.toThrow('the source broke')
  expect(readFileSync(join(folder, 'a'), 'utf8')).toBe('old')
  expect(readdirSync(folder)).toEqual(['a'])
})

it('writes through a link, and never into a folder', async () => {
  writeFileSync(join(folder, 'real\n'), 'old')
  symlinkSync('real\n', join(folder, 'link'))
  await files.write('m', 'link', of('new'), {}, ctx)
  expect(readFileSync(join(folder, 'real\n'), 'utf8')).toBe('new')
  mkdirSync(join(folder, 'sub'))
  await expect(files.write('m', 'sub', of('x'), {}, ctx)).rejects.toMatchObject({ code: 'GUEST_ERROR' })
  await expect(files.write('m', '..', of('x'), {}, ctx)).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
  await expect(files.write('m', 'real\n/x', of('x'), {}, ctx)).rejects.toMatchObject({ code: 'GUEST_ERROR' })
})

it('lists more than one group of entries, whatever they are called', async () => {
  const names = [...Array.from({ length: 250 }, (_, i) => `f${i}`), '-rf', '*', '.hidden', 'a b', 'new\nline', "quote'", 'ü✓']
  for (const name of names) writeFileSync(join(folder, name), 'x')
  const entries = await files.list('m', '.', ctx)
  expect(entries.map(({ name }) => name).sort()).toEqual([...names].sort())
  expect(entries.every(({ type, size }) => type === 'file' && size === 1)).toBe(true)
  await files.remove('m', '*', ctx)
  expect(readdirSync(folder)).toHaveLength(names.length - 1)
})

it('says what is not there, and what it is instead', async () => {
  writeFileSync(join(folder, 'a'), '')
  await expect(read('none')).rejects.toMatchObject({ code: 'NOT_FOUND' })
  await expect(read('.')).rejects.toMatchObject({ code: 'GUEST_ERROR', message: expect.stringContaining('is a folder') })
  await expect(read('/dev/null')).rejects.toMatchObject({ code: 'GUEST_ERROR', message: expect.stringContaining('regular file') })
  await expect(files.list('m', 'a', ctx)).rejects.toMatchObject({ code: 'GUEST_ERROR', message: expect.stringContaining('not a folder') })
  for (const call of [() => files.list('m', 'none', ctx), () => files.remove('m', 'none', ctx)])
    await expect(call()).rejects.toMatchObject({ code: 'NOT_FOUND' })
  await expect(files.remove('m', '/', ctx)).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
})

it('carries a tree out and in', async () => {
  mkdirSync(join(folder, 'tree/sub'), { recursive: true })
  writeFileSync(join(folder, 'tree/sub/ü'), 'in it')
  chmodSync(join(folder, 'tree/sub'), 0o700)
  symlinkSync('tree', join(folder, 'link'))
  await files.unpack('m', 'copy', files.pack('m', 'link', ctx), ctx)
  expect(readFileSync(join(folder, 'copy/tree/sub/ü'), 'utf8')).toBe('in it')
  expect(statSync(join(folder, 'copy/tree/sub')).mode & 0o7777).toBe(0o700)
  await expect(files.unpack('m', 'copy/tree/sub/ü', of(), ctx)).rejects.toMatchObject({ code: 'GUEST_ERROR' })
  await expect(files.unpack('m', 'copy', of('no tar'), ctx)).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'tar' })
})

it('names the program that the image lacks', async () => {
  const bare = guestFiles(inner({ path: join(folder, 'bin') }))
  await expect(read('x', bare)).rejects.toMatchObject({
    code: 'UNSUPPORTED',
    capability: 'files',
    message: expect.stringContaining('`cat`'),
  })
  mkdirSync(join(folder, 'tree'))
  await expect(bare.pack('m', 'tree', ctx)[Symbol.asyncIterator]().next()).rejects.toMatchObject({
    code: 'UNSUPPORTED',
    capability: 'files.archive',
    message: expect.stringContaining('`tar`'),
    hint: expect.stringContaining('Stop'),
  })
  const none = guestFiles(inner({ refuse: 'exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown' }))
  await expect(read('x', none)).rejects.toMatchObject({ code: 'UNSUPPORTED', message: expect.stringContaining('/bin/sh') })
})

it('reads the accounts, and refuses a paused sandbox', async () => {
  const { passwd, group } = await accountsInside(inner(), 'm', ctx)
  expect(passwd).toBe(readFileSync('/etc/passwd', 'utf8'))
  expect(group).toBe(readFileSync('/etc/group', 'utf8'))
  await expect(read('x', guestFiles(inner({ state: 'paused' })))).rejects.toMatchObject({ code: 'INVALID_STATE' })
})
