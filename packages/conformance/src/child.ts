/**
 * The program of a second process with the same driver: `node child.js '{"module":…,"export":…,"options":…}'`. It reads
 * requests and writes answers, one JSON a line, and ends by itself when its stdin ends and the driver holds nothing.
 */
import { createRequire } from 'node:module'
import { isAbsolute, join } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { createManager, type DriverHandle, type VMConfig, type VMDriver, VMKitError } from '@vmkit/core'
import type { ChildRequest } from './children.js'
import type { ChildDriver } from './options.js'
import type { FullVM } from './tools.js'

const { module, export: name, options } = JSON.parse(process.argv[2] as string) as ChildDriver
const loaded = (await import(locate(module))) as Record<string, (options: unknown) => VMDriver>
const make = loaded[name]
if (typeof make !== 'function') throw new Error(`${module} has no function ${name}`)
const manager = createManager({ drivers: { subject: make(options) } })
const driver = manager.lookup('subject')

createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, ...request } = JSON.parse(line) as ChildRequest & { id: number }
  perform(driver, request).then(
    (value) => say({ id, value }),
    (error: unknown) => {
      const { code, message } = VMKitError.from(error)
      say({ id, error: { code, message } })
    },
  )
})
say({ ready: true })

async function perform(handle: DriverHandle, request: ChildRequest): Promise<unknown> {
  if (request.op === 'create') {
    const { id } = await handle.create(request.config as VMConfig, { onDispose: request.onDispose ?? 'detach' })
    return id
  }
  if (!('vm' in request)) {
    if (request.op === 'list') return handle.list()
    return request.op === 'sweep' ? manager.sweep({ driver: 'subject' }) : manager.close()
  }
  const vm = (await handle.get(request.vm)) as unknown as FullVM
  if (request.op === 'start') return vm.start()
  if (request.op === 'stop') return vm.stop({ graceMs: 200 })
  if (request.op === 'delete') return vm.delete({ force: true })
  if (request.op === 'status') return vm.status()
  if (request.op === 'info') return vm.info()
  if (request.op === 'wait') return vm.wait()
  if (request.op === 'exec') return vm.exec(request.command ?? [])
  return useAll(handle, vm)
}

/** Opens whatever this machine has to open and leaves it early, so that `close` has something to free. */
async function useAll(handle: DriverHandle, vm: FullVM): Promise<void> {
  const controller = new AbortController()
  const pulls: Promise<unknown>[] = [handle.events({ signal: controller.signal }).next(), vm.wait({ signal: controller.signal })]
  if (vm.supports('logs')) pulls.push(vm.logs({ follow: true, signal: controller.signal }).next())
  pulls.push(vm.metrics())
  await vm.info()
  for (const pull of pulls) pull.catch(() => {})
  // What waits now is left waiting: freeing it is the driver's business when it is closed.
}

function say(message: unknown): void {
  process.stdout.write(`${JSON.stringify(message)}\n`)
}

function locate(specifier: string): string {
  if (specifier.includes('://')) return specifier
  if (isAbsolute(specifier)) return pathToFileURL(specifier).href
  return pathToFileURL(createRequire(join(process.cwd(), 'package.json')).resolve(specifier)).href
}
