import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { lightEnvironment } from '../child.js'
import { rawApi } from './raw-api.js'

/** Images of the stub: the program has ended when `start` answers; or it ends when its client does nothing but wait for it. */
export const ENDS_AT_ONCE = 'ends-at-once'
export const ENDS_WHEN_AWAITED = 'ends-when-awaited'
export const TAKE_CALLS = '/stub/take-calls'

export interface StubEngine {
  socketPath: string
  /** How many calls it got since this was last asked. */
  takeCalls(): Promise<number>
  close(): Promise<void>
}

/** Starts `stub-engine.ts`. */
export async function startStubEngine(): Promise<StubEngine> {
  const folder = await mkdtemp(join(tmpdir(), 'vmkit-bench-stub-'))
  const socketPath = join(folder, 'engine.sock')
  const program = fileURLToPath(new URL('stub-engine.ts', import.meta.url))
  const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), program, socketPath], {
    env: lightEnvironment(),
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const exited = once(child, 'exit')
  const isReady = await Promise.race([once(child, 'message').then(() => true), exited.then(() => false)])
  if (!isReady) throw new Error(`The stub engine ended with ${child.signalCode ?? child.exitCode}`)
  const api = rawApi(socketPath)
  return {
    socketPath,
    takeCalls: async () => (await api.json<{ calls: number }>('POST', TAKE_CALLS)).calls,
    async close() {
      api.close()
      child.kill()
      await exited
      await rm(folder, { recursive: true, force: true })
    },
  }
}
