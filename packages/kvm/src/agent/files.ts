/** Files of a machine of the vmkit guest, by its PID 1: no program of the image is needed. */
import { posix } from 'node:path'
import { type CallContext, type DriverFiles, type ExecSession, type FileEntry, VMKitError } from '@vmkit/core/driver'
import { DRIVER } from '../errors.js'
import type { Host } from '../host.js'
import { startSession } from './session.js'
import { recordsToTar, tarToRecords } from './tar-records.js'
import { readRecords } from './tree-records.js'

/** Linux's numbers, errno(3). */
const CODES: Readonly<Record<number, { code: 'NOT_FOUND' | 'PERMISSION_DENIED' | 'RESOURCE_EXHAUSTED' | 'GUEST_ERROR'; text: string }>> = {
  1: { code: 'PERMISSION_DENIED', text: 'not permitted' },
  2: { code: 'NOT_FOUND', text: 'there is no such file' },
  13: { code: 'PERMISSION_DENIED', text: 'permission denied' },
  20: { code: 'NOT_FOUND', text: 'a part of the path is no folder' },
  21: { code: 'GUEST_ERROR', text: 'it is a folder' },
  28: { code: 'RESOURCE_EXHAUSTED', text: 'the disk of the machine is full' },
  30: { code: 'PERMISSION_DENIED', text: 'the file system is read-only' },
  36: { code: 'GUEST_ERROR', text: 'the name is too long' },
  40: { code: 'GUEST_ERROR', text: 'too many links' },
}

type Work = 'read' | 'write' | 'list' | 'remove' | 'pack' | 'unpack'

export function guestFiles(host: Host): Required<DriverFiles> {
  function work(id: string, name: Work, path: string, { signal }: CallContext, mode?: number): Promise<ExecSession> {
    const machine = host.store.get(id)
    const records = [
      ['work', name],
      ['path', path],
      ['workdir', machine.boot.process?.workdir ?? '/'],
      ['stdin', name === 'write' || name === 'unpack' ? '1' : '0'],
      ...(mode === undefined ? [] : [['mode', mode.toString(8)] as const]),
    ] as const
    const failure = ({ step, errno }: { step: string; errno: number }): VMKitError => fileError(id, path, errno, step)
    return host.guests.use(machine, signal, (port) => startSession(port, records, { failure }, signal))
  }

  async function* output(id: string, name: Work, path: string, ctx: CallContext): AsyncGenerator<Uint8Array> {
    await using session = await work(id, name, path, ctx)
    const stop = endOnAbort(session, ctx.signal)
    try {
      for await (const { data } of session.output) yield data
      await finished(session, id, path, ctx.signal)
    } finally {
      stop()
    }
  }

  async function input(
    id: string,
    name: Work,
    path: string,
    content: AsyncIterable<Uint8Array>,
    ctx: CallContext,
    mode?: number,
  ): Promise<void> {
    await using session = await work(id, name, path, ctx, mode)
    const stop = endOnAbort(session, ctx.signal)
    try {
      for await (const chunk of content) {
        // What went wrong there is told by its end.
        if (
          !(await session.stdin.write(chunk).then(
            () => true,
            () => false,
          ))
        )
          break
      }
      await session.stdin.end().catch(() => {})
      await finished(session, id, path, ctx.signal)
    } finally {
      stop()
    }
  }

  return {
    read: (id, path, ctx) => output(id, 'read', path, ctx),
    write: (id, path, content, { mode = 0o644 }, ctx) => input(id, 'write', path, content, ctx, mode),
    async list(id, path, ctx) {
      const entries: FileEntry[] = []
      for await (const { kind, name, size, mode, modifiedAt } of readRecords(output(id, 'list', path, ctx), false)) {
        entries.push({ name, type: TYPES[kind] ?? 'other', size, mode, modifiedAt })
      }
      return entries
    },
    async remove(id, path, ctx) {
      for await (const _ of output(id, 'remove', path, ctx));
    },
    pack: (id, path, ctx) => recordsToTar(readRecords(output(id, 'pack', path, ctx), true), posix.basename(path)),
    unpack: (id, path, tar, ctx) => input(id, 'unpack', path, tarToRecords(tar), ctx),
  }
}

const TYPES: Readonly<Record<string, FileEntry['type']>> = { f: 'file', d: 'directory', l: 'symlink' }

function endOnAbort(session: ExecSession, signal: AbortSignal): () => void {
  const end = (): void => void session.kill().catch(() => {})
  signal.addEventListener('abort', end, { once: true })
  if (signal.aborted) end()
  return () => signal.removeEventListener('abort', end)
}

/** The exit code of such work is its errno. */
async function finished(session: ExecSession, id: string, path: string, signal: AbortSignal): Promise<void> {
  const { exitCode } = await session.wait()
  signal.throwIfAborted()
  if (exitCode !== 0) throw fileError(id, path, exitCode ?? 0, 'work')
}

function fileError(id: string, path: string, errno: number, step: string): VMKitError {
  const { code, text } = CODES[errno] ?? { code: 'GUEST_ERROR' as const, text: `error ${errno} (${step})` }
  return new VMKitError(code, `${JSON.stringify(path)} in the machine: ${text}`, { driver: DRIVER, vmId: id })
}
