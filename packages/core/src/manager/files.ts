import type { CallContext, DriverFiles } from '../driver.js'
import { invalidConfig } from '../errors.js'
import type { Missing } from '../machine.js'
import type { Backend } from './backend.js'
import { readAll, toChunks } from './exec.js'
import type { CallOptions } from './operation.js'
import type { VMFiles } from './vm-types.js'

/** The files of one machine. `machine` is asked at each call, because a restore may change the id. */
export function machineFiles(backend: Backend, machine: () => { id: string; missing?: Missing }): VMFiles {
  function run<T>(
    operation: string,
    path: string,
    options: CallOptions | undefined,
    task: (files: DriverFiles, id: string, ctx: CallContext) => Promise<T>,
  ): Promise<T> {
    const { id, missing } = machine()
    return backend.call<T>({ operation, vmId: id, needs: 'files' }, options, missing, async (ctx) => {
      checkPath(path)
      return task(backend.driver.files as DriverFiles, id, ctx)
    })
  }

  const read = (path: string, options?: CallOptions): Promise<Uint8Array> =>
    run('readFile', path, options, (files, id, ctx) => readAll(files.read(id, path, ctx)))

  return {
    read,
    async readText(path, options) {
      return new TextDecoder().decode(await read(path, options))
    },
    readStream(path, options) {
      const { id, missing } = machine()
      backend.require('files', { operation: 'readFile', vmId: id, machine: missing })
      checkPath(path)
      return backend.stream({ operation: 'readFile', vmId: id }, options?.signal, (ctx) =>
        (backend.driver.files as DriverFiles).read(id, path, ctx),
      )
    },
    write: (path, content, options = {}) =>
      run('writeFile', path, options, (files, id, ctx) => {
        if (options.mode !== undefined && !(Number.isInteger(options.mode) && options.mode >= 0 && options.mode <= 0o7777)) {
          throw invalidConfig('options.mode', 'permission bits from 0 to 0o7777', options.mode)
        }
        return files.write(id, path, toChunks(content), { mode: options.mode ?? 0o644 }, ctx)
      }),
    list: (path, options) => run('listFiles', path, options, (files, id, ctx) => files.list(id, path, ctx)),
    remove: (path, options) => run('removeFile', path, options, (files, id, ctx) => files.remove(id, path, ctx)),
  }
}

function checkPath(path: unknown): void {
  if (typeof path !== 'string' || path === '' || path.includes('\0'))
    throw invalidConfig('path', 'a path that is not empty and has no NUL', path)
}
