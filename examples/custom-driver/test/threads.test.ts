import { fileURLToPath } from 'node:url'
import { createManager, VMKitError } from '@vmkit/core'
import { expect, expectTypeOf, it } from 'vitest'
import '../src/threads.js'

const program = fileURLToPath(new URL('workload.js', import.meta.url))

it('is found, and typed, by the name it registered', async () => {
  await using manager = createManager()
  const vm = await manager.create({ command: [program, JSON.stringify({ does: 'exit', code: 3 })] }, { driver: 'threads' })
  await vm.start()
  expect(await vm.wait()).toMatchObject({ code: 3, signal: null, reason: 'exited' })
  expectTypeOf(vm).not.toHaveProperty('exec')
  // @ts-expect-error no such driver is in the types
  expect(() => manager.driver('thread')).toThrow(VMKitError)
})

it('refuses a command that is no file', async () => {
  await using manager = createManager()
  const creating = manager.create({ command: ['/nonexistent/program.js'] }, { driver: 'threads' })
  await expect(creating).rejects.toMatchObject({ code: 'INVALID_CONFIG', message: expect.stringContaining('`config.command`') })
  expect(await manager.list()).toEqual([])
})

it('refuses a stop signal that is none before it makes anything', async () => {
  await using manager = createManager()
  const creating = manager.create({ command: [program], stop: { signal: 'SIGNOSUCH' } }, { driver: 'threads' })
  await expect(creating).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'config.stop.signal' })
  expect(await manager.list()).toEqual([])
})
