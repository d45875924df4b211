import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { Agent } from 'node:http'
import { Duplex } from 'node:stream'
import { VMKitError } from '@vmkit/core'

/** What of `ssh://user@host:port` and the driver's options names the other side. */
export interface SshTarget {
  host: string
  user?: string
  port?: string
  /** An ssh config file, as `ssh -F` takes it; without it ssh reads its own. */
  config?: string
}

const REMOTE_COMMAND = ['docker', 'system', 'dial-stdio']

/** As the Docker CLI calls it, but without questions: nobody is there to answer them. */
export function sshArguments({ host, user, port, config }: SshTarget): string[] {
  return [
    ...['-T', '-o', 'BatchMode=yes', '-o', 'ConnectTimeout=30'],
    ...(config === undefined ? [] : ['-F', config]),
    ...(user === undefined ? [] : ['-l', user]),
    ...(port === undefined ? [] : ['-p', port]),
    ...['--', host, ...REMOTE_COMMAND],
  ]
}

/** Connections through the system's own ssh, as the Docker CLI makes them: its known hosts, keys, agents and config count. */
export class SshAgent extends Agent {
  readonly #target: SshTarget

  constructor(target: SshTarget) {
    super({ keepAlive: true })
    this.#target = target
  }

  override createConnection(): Duplex {
    return new SshConnection(spawn('ssh', sshArguments(this.#target)), this.#target.host)
  }
}

/** The standard streams of an ssh as a socket; with those methods of sockets that an agent calls. */
class SshConnection extends Duplex {
  readonly #ssh: ChildProcessWithoutNullStreams
  #idle: NodeJS.Timeout | undefined

  constructor(ssh: ChildProcessWithoutNullStreams, host: string) {
    super({ allowHalfOpen: true })
    this.#ssh = ssh
    let words = ''
    ssh.stderr.setEncoding('utf8').on('data', (text: string) => {
      words = `${words}${text}`.slice(-2000)
    })
    ssh.stdout.on('data', (chunk: Buffer) => this.push(chunk) || ssh.stdout.pause())
    // What is written to an ssh that ends is lost; its end tells why.
    ssh.stdin.on('error', () => {})
    ssh.once('error', (error) => this.destroy(failure(host, `ssh cannot be run: ${error.message}`)))
    ssh.once('close', (code, signal) => {
      if (code === 0) this.push(null)
      else this.destroy(failure(host, words.trim() || `ssh ended with ${signal ?? code}`))
    })
  }

  override _read(): void {
    this.#ssh.stdout.resume()
  }

  override _write(chunk: Uint8Array, _encoding: string, done: () => void): void {
    if (this.#ssh.stdin.write(chunk) || this.#ssh.stdin.destroyed) done()
    else this.#ssh.stdin.once('drain', done)
  }

  override _final(done: () => void): void {
    this.#ssh.stdin.end(done)
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    clearTimeout(this.#idle)
    this.#ssh.kill()
    done(error)
  }

  setKeepAlive(): this {
    return this
  }

  setNoDelay(): this {
    return this
  }

  setTimeout(ms: number): this {
    clearTimeout(this.#idle)
    if (ms > 0) this.#idle = setTimeout(() => this.emit('timeout'), ms).unref()
    return this
  }

  /** An idle connection does not keep the app alive. */
  unref(): this {
    for (const part of this.#parts()) part.unref()
    return this
  }

  ref(): this {
    for (const part of this.#parts()) part.ref()
    return this
  }

  #parts(): { ref(): unknown; unref(): unknown }[] {
    const { stdin, stdout, stderr } = this.#ssh
    // The pipes of a child are sockets, which their types do not say.
    return [this.#ssh, stdin, stdout, stderr] as unknown as { ref(): unknown; unref(): unknown }[]
  }
}

/** ssh tells what went wrong in words only (OpenSSH's messages). */
function failure(host: string, words: string): VMKitError {
  const isRefused = /permission denied|host key verification failed/i.test(words)
  return new VMKitError(isRefused ? 'PERMISSION_DENIED' : 'BACKEND_UNAVAILABLE', `The engine at ssh://${host} does not answer: ${words}`, {
    driver: 'docker',
    ...(isRefused ? { hint: `Check that \`ssh ${host} docker version\` works here without a question` } : {}),
  })
}
