import { Agent, request } from 'node:http'
import { connect } from 'node:net'

export interface RawEngine {
  call<T>(method: string, path: string, body?: unknown): Promise<T>
  /** Runs a command and collects its output: create, start on a connection of its own, inspect. */
  exec(id: string, command: readonly string[]): Promise<number>
  close(): void
}

/** The Engine API by node:http alone, over a connection that is kept: the least that a client can do. */
export function rawEngine(socketPath: string): RawEngine {
  const agent = new Agent({ keepAlive: true })
  async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const text = body === undefined ? undefined : JSON.stringify(body)
    return new Promise<T>((resolve, reject) => {
      const sent = request(
        { socketPath, method, path, agent, headers: text === undefined ? {} : { 'content-type': 'application/json' } },
        (answer) => {
          let received = ''
          answer.setEncoding('utf8').on('data', (part: string) => {
            received += part
          })
          answer.on('end', () => {
            if ((answer.statusCode ?? 0) >= 400) reject(new Error(received))
            else resolve((received === '' ? undefined : JSON.parse(received)) as T)
          })
        },
      )
      sent.on('error', reject).end(text)
    })
  }
  return {
    call,
    async exec(id, command) {
      const { Id } = await call<{ Id: string }>('POST', `/containers/${id}/exec`, { AttachStdout: true, AttachStderr: true, Cmd: command })
      await new Promise<void>((resolve, reject) => {
        const body = '{"Detach":false,"Tty":false}'
        const socket = connect(socketPath, () => {
          socket.write(
            `POST /exec/${Id}/start HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
          )
        })
        socket.on('error', reject).on('end', () => {
          socket.end()
          resolve()
        })
        socket.resume()
      })
      return (await call<{ ExitCode: number }>('GET', `/exec/${Id}/json`)).ExitCode
    },
    close: () => agent.destroy(),
  }
}
