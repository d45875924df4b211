import type { CallContext, DriverFiles } from '../driver.js'
import { readAll, toChunks } from './input.js'
import { bound, type MachineCalls } from './machine-calls.js'
import type { CallOptions } from './operation.js'
import { ARGUMENTS, OPTIONS, readArgument, readOptions } from './requests.js'
import type { StreamOptions, VMFiles } from './vm-types.js'

/** The files of one machine. */
export function machineFiles(calls: MachineCalls): VMFiles {
  const { driver } = calls

  function run<T>(
    operation: string,
    options: CallOptions,
    task: (files: DriverFiles, id: string, ctx: CallContext) => Promise<T>,
  ): Promise<T> {
    return calls.call<T>(operation, { needs: 'files' }, options, (id, ctx) => task(driver.files as DriverFiles, id, ctx))
  }

  const checked = (path: string): string => readArgument(ARGUMENTS.path, path, 'path')

  async function read(path: string, options?: CallOptions): Promise<Uint8Array> {
    const from = checked(path)
    return run('readFile', readOptions(OPTIONS.call, options), (files, id, ctx) => readAll(files.read(id, from, ctx)))
  }

  return {
    read,
    async readText(path, options) {
      return new TextDecoder().decode(await read(path, options))
    },
    readStream(path, options) {
      const from = checked(path)
      const { signal } = readOptions(OPTIONS.stream, options)
      calls.require('files', 'readFile')
      return calls.stream('readFile', signal, (id, ctx) => (driver.files as DriverFiles).read(id, from, ctx))
    },
    async write(path, content, options) {
      const to = checked(path)
      const input = readArgument(ARGUMENTS.input, content, 'content')
      const { mode = 0o644, ...call } = readOptions(OPTIONS.write, options)
      return run('writeFile', call, (files, id, ctx) => files.write(id, to, toChunks(input, 'content'), { mode }, ctx))
    },
    async list(path, options) {
      const folder = checked(path)
      return run('listFiles', readOptions(OPTIONS.call, options), (files, id, ctx) => files.list(id, folder, ctx))
    },
    async remove(path, options) {
      const target = checked(path)
      return run('removeFile', readOptions(OPTIONS.call, options), (files, id, ctx) => files.remove(id, target, ctx))
    },
  }
}

/** A tree of files as a tar. */
export function copyOut(calls: MachineCalls, path: string, options?: StreamOptions): AsyncIterableIterator<Uint8Array> {
  const from = readArgument(ARGUMENTS.path, path, 'path')
  const { signal } = readOptions(OPTIONS.stream, options)
  calls.require('files.archive', 'copyOut')
  const files = calls.method('files')
  return calls.stream('copyOut', signal, (id, ctx) => bound(files.pack, files, 'files.pack')(id, from, ctx))
}

export async function copyIn(
  calls: MachineCalls,
  path: string,
  tar: Uint8Array | AsyncIterable<Uint8Array>,
  options?: CallOptions,
): Promise<void> {
  const to = readArgument(ARGUMENTS.path, path, 'path')
  const input = readArgument(ARGUMENTS.bytesInput, tar, 'tar')
  return calls.call('copyIn', { needs: 'files.archive' }, readOptions(OPTIONS.call, options), (id, ctx) => {
    const files = calls.method('files')
    return bound(files.unpack, files, 'files.unpack')(id, to, toChunks(input, 'tar'), ctx)
  })
}
