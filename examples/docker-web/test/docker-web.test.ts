import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { get, type IncomingMessage } from 'node:http'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { backendPath } from '../../../scripts/lib/backends.js'

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))

/** What the engine answers, asked behind vmkit's back. */
async function statusOf(socketPath: string, path: string): Promise<number | undefined> {
  const [answer] = (await once(get({ socketPath, path }), 'response')) as [IncomingMessage]
  answer.resume()
  return answer.statusCode
}

const socket = [backendPath('VMKIT_DOCKER_SOCKET'), '/var/run/docker.sock'].find((path) => path !== undefined && existsSync(path))
if (socket === undefined && process.env.VMKIT_REQUIRE_BACKENDS === '1') throw new Error('no Docker engine: scripts/backends up starts one')
const why = socket === undefined ? ' (not run: no Docker engine; scripts/backends up starts one)' : ''

it.skipIf(socket === undefined)(`serves a page from an image that it has built${why}`, async () => {
  const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', import.meta.resolve('tsx'), main], {
    env: { ...env, VMKIT_DOCKER_SOCKET: socket },
  })
  expect(stdout).toContain('200 <h1>served by vmkit</h1>')
  expect(stdout).toMatch(/\d+ bytes of memory, \d+ bytes sent/)
  expect(stdout).toContain('response:200') // in the log of the server
  expect(await statusOf(socket as string, '/images/docker-web:example/json')).toBe(404)
})
