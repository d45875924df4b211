import { Agent, request } from 'node:http'

/** The Engine API by `node:http` alone, over connections that are kept: the least a client can do. */
export interface RawApi {
  /** The body. @throws Error with the engine's words */
  call(method: string, path: string, body?: unknown): Promise<Buffer>
  json<T>(method: string, path: string, body?: unknown): Promise<T>
  close(): void
}

export function rawApi(socketPath: string): RawApi {
  const agent = new Agent({ keepAlive: true })
  const call = (method: string, path: string, body?: unknown): Promise<Buffer> =>
    new Promise((resolve, reject) => {
      const text = body === undefined ? '' : JSON.stringify(body)
      const headers = { 'content-length': Buffer.byteLength(text), ...(text === '' ? {} : { 'content-type': 'application/json' }) }
      request({ socketPath, agent, method, path, headers }, (answer) => {
        const chunks: Buffer[] = []
        answer.on('data', (chunk: Buffer) => chunks.push(chunk))
        answer.once('error', reject)
        answer.once('end', () => {
          const bytes = Buffer.concat(chunks)
          if ((answer.statusCode ?? 0) < 400) resolve(bytes)
          else reject(new Error(`${method} ${path}: ${answer.statusCode} ${bytes.toString('utf8')}`))
        })
      })
        .once('error', reject)
        .end(text)
    })
  return {
    call,
    json: async <T>(method: string, path: string, body?: unknown) => JSON.parse((await call(method, path, body)).toString('utf8')) as T,
    close: () => agent.destroy(),
  }
}

/** What a machine is asked to run, in the words of the API. */
export interface RawConfig {
  Image: string
  Entrypoint: readonly string[]
}

export async function rawCycle(api: RawApi, config: RawConfig): Promise<void> {
  const { Id } = await api.json<{ Id: string }>('POST', '/containers/create', config)
  await api.call('POST', `/containers/${Id}/start`)
  await api.call('POST', `/containers/${Id}/wait`)
  await api.call('DELETE', `/containers/${Id}?v=1`)
}

/** Runs a command and returns its output and exit code, as `vm.exec` does. */
export async function rawExec(api: RawApi, container: string, command: readonly string[]): Promise<{ code: number; output: string }> {
  const { Id } = await api.json<{ Id: string }>('POST', `/containers/${container}/exec`, {
    Cmd: command,
    AttachStdout: true,
    AttachStderr: true,
  })
  const frames = await api.call('POST', `/exec/${Id}/start`, { Detach: false })
  // The engine closes the streams a moment before it knows the exit code.
  for (;;) {
    const { Running, ExitCode } = await api.json<{ Running: boolean; ExitCode: number | null }>('GET', `/exec/${Id}/json`)
    if (!Running && ExitCode !== null) return { code: ExitCode, output: payloads(frames) }
  }
}

/** Each frame: stream, three zeros, length of what follows (Docker Engine API v1.41, "Attach to a container"). */
function payloads(frames: Buffer): string {
  const parts: Buffer[] = []
  for (let at = 0; at < frames.length; ) {
    const end = at + 8 + frames.readUInt32BE(at + 4)
    parts.push(frames.subarray(at + 8, end))
    at = end
  }
  return Buffer.concat(parts).toString('utf8')
}
