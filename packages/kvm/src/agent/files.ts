/** Files in a guest: by PID 1 of the vmkit guest, which needs no program of the image; in other systems by QEMU's guest agent. */
import { posix } from 'node:path'
import type { CallContext, DriverFiles, ExecSession, FileEntry, VMKitError } from '@vmkit/core/driver'
import type { Host } from '../host.js'
import type { Machine } from '../state/store.js'
import { fileError } from './file-error.js'
import { listFolder, readFile, removeFile, writeFile } from './qga/files.js'
import { startSession } from './session.js'
import { recordsToTar, tarToRecords } from './tar-records.js'
import { readRecords } from './tree-records.js'

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

  /** Absent for a machine of the vmkit guest. */
  function foreign(id: string): Machine | undefined {
    const machine = host.store.get(id)
    return machine.boot.process === undefined ? machine : undefined
  }

  return {
    async *read(id, path, ctx) {
      const machine = foreign(id)
      yield* machine ? readFile(machine, path, ctx.signal) : output(id, 'read', path, ctx)
    },
    async write(id, path, content, { mode = 0o644 }, ctx) {
      const machine = foreign(id)
      await (machine ? writeFile(machine, path, content, mode, ctx.signal) : input(id, 'write', path, content, ctx, mode))
    },
    async list(id, path, ctx) {
      const machine = foreign(id)
      if (machine) return listFolder(machine, path, ctx.signal)
      const entries: FileEntry[] = []
      for await (const { kind, name, size, mode, modifiedAt } of readRecords(output(id, 'list', path, ctx), false)) {
        entries.push({ name, type: TYPES[kind] ?? 'other', size, mode, modifiedAt })
      }
      return entries
    },
    async remove(id, path, ctx) {
      const machine = foreign(id)
      if (machine) return removeFile(machine, path, ctx.signal)
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
