import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'

/** Where Debian's openssh-server puts it. */
export const SSHD = '/usr/sbin/sshd'

export interface Sshd extends AsyncDisposable {
  /** `ssh://user@127.0.0.1:port`. */
  host: string
  /** An ssh config with the key and the known host of this server; `key` and `knownHosts` replace one. */
  config(changes?: { key?: string; knownHosts?: string }): Promise<string>
  /** A key that the server does not know. */
  strangersKey: string
}

/** An sshd on loopback whose users reach the engine at `socketPath`. */
export async function startSshd(socketPath: string): Promise<Sshd> {
  const folder = await mkdtemp(join(tmpdir(), 'vmkit-sshd-'))
  const at = (name: string): string => join(folder, name)
  for (const name of ['host', 'user', 'stranger'])
    await promisify(execFile)('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', at(name)])
  const port = await freePort()
  const settings = [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${at('host')}`,
    `AuthorizedKeysFile ${at('user.pub')}`,
    `PidFile ${at('sshd.pid')}`,
    'StrictModes no',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'PermitRootLogin yes',
    `SetEnv DOCKER_HOST=unix://${socketPath}`,
  ]
  await writeFile(at('sshd_config'), `${settings.join('\n')}\n`)
  // It separates its privileges there, and Debian's service makes it.
  if (!existsSync('/run/sshd')) await mkdir('/run/sshd', { mode: 0o755 })
  const daemon = spawn(SSHD, ['-D', '-e', '-f', at('sshd_config')], { stdio: ['ignore', 'ignore', 'pipe'] })
  await listening(daemon)
  const publicKey = (await readFile(at('host.pub'), 'utf8')).split(' ').slice(0, 2).join(' ')
  await writeFile(at('known_hosts'), `[127.0.0.1]:${port} ${publicKey}\n`)
  let made = 0
  return {
    host: `ssh://${userInfo().username}@127.0.0.1:${port}`,
    strangersKey: at('stranger'),
    async config({ key = at('user'), knownHosts = at('known_hosts') } = {}) {
      made += 1
      const file = at(`client_config_${made}`)
      const lines = [`IdentityFile ${key}`, 'IdentitiesOnly yes', `UserKnownHostsFile ${knownHosts}`, 'StrictHostKeyChecking yes']
      await writeFile(file, `Host 127.0.0.1\n${lines.map((line) => `  ${line}\n`).join('')}`)
      return file
    },
    async [Symbol.asyncDispose]() {
      const ended = once(daemon, 'exit')
      daemon.kill()
      await ended
      await rm(folder, { recursive: true })
    },
  }
}

async function listening(daemon: ChildProcess): Promise<void> {
  const lines: string[] = []
  for await (const line of createInterface({ input: daemon.stderr as NodeJS.ReadableStream })) {
    lines.push(line)
    if (line.includes('Server listening on')) {
      // Nobody reads on: its pipe must not fill.
      daemon.stderr?.resume()
      return
    }
  }
  throw new Error(`sshd ended: ${lines.join('\n')}`)
}

/** Free a moment ago, and none of those that Linux gives to whoever asks for any (from 32768 on): they are soon taken again. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000)
    const server = createServer().listen(port, '127.0.0.1')
    const isFree = await once(server, 'listening').then(
      () => true,
      () => false,
    )
    if (!isFree) continue
    server.close()
    await once(server, 'close')
    return port
  }
}
