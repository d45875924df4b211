import { execFile, execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { get, type IncomingMessage } from 'node:http'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))

/** The engine of `scripts/backends`; the environment goes first. */
function engineSocket(): string | undefined {
  if (process.env.VMKIT_DOCKER_SOCKET) return process.env.VMKIT_DOCKER_SOCKET
  const lines = execFileSync(fileURLToPath(new URL('../../../scripts/backends', import.meta.url)), ['env'], { encoding: 'utf8' }).split(
    '\n',
  )
  const path = lines.find((line) => line.startsWith('VMKIT_DOCKER_SOCKET='))?.split('=')[1]
  return [path, '/var/run/docker.sock'].find((candidate) => candidate !== undefined && existsSync(candidate))
}

/** What the engine answers, asked behind vmkit's back. */
async function statusOf(socketPath: string, path: string): Promise<number | undefined> {
  const [answer] = (await once(get({ socketPath, path }), 'response')) as [IncomingMessage]
  answer.resume()
  return answer.statusCode
}

const socket = engineSocket()
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
