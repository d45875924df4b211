/** A containerd of one test alone, which it may take away and bring back as it likes. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, readlinkSync } from 'node:fs'
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ContainerdOptions, containerd } from '../src/driver.js'
import { hasCode } from '../src/grpc/errors.js'
import { runTool } from '../src/tool.js'
import { connect } from './engine.js'

export interface OwnDaemon extends AsyncDisposable {
  readonly socketPath: string
  /** A folder that goes with it. */
  readonly folder: string
  /** Ends it as an init system would; tasks live on in their shims. */
  stop(): Promise<void>
  start(): Promise<void>
}

/** Of the version that listens on `like`: the same binary, with its own shim beside it. */
export async function ownDaemon(like: string): Promise<OwnDaemon> {
  const pid = readFileSync(join(dirname(like), 'containerd.pid'), 'utf8').trim()
  const binary = readlinkSync(`/proc/${pid}/exe`)
  const folder = await mkdtemp(join(tmpdir(), 'vmkit-containerd-own-'))
  const socketPath = join(folder, 'c.sock')
  const config = `version = 2
root = "${join(folder, 'root')}"
state = "${join(folder, 'state')}"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri"]
[grpc]
address = "${socketPath}"
[ttrpc]
address = "${socketPath}.ttrpc"
[debug]
address = "${join(folder, 'debug.sock')}"
[plugins."io.containerd.internal.v1.opt"]
path = "${join(folder, 'opt')}"
[plugins."io.containerd.internal.v1.restart"]
interval = "1s"
[plugins."io.containerd.monitor.container.v1.restart"]
interval = "1s"
`
  await writeFile(join(folder, 'config.toml'), config)
  let running: { child: ChildProcess; ended: Promise<unknown> } | undefined

  const start = async (): Promise<void> => {
    const log = await open(join(folder, 'containerd.log'), 'a')
    const env = { ...process.env, PATH: `${dirname(binary)}:${process.env.PATH}` }
    const child = spawn(binary, ['--config', join(folder, 'config.toml')], { stdio: ['ignore', log.fd, log.fd], detached: true, env })
    running = { child, ended: once(child, 'exit') }
    await log.close()
    for (;;) {
      if (child.exitCode !== null) throw new Error(`containerd ended: ${await readFile(join(folder, 'containerd.log'), 'utf8')}`)
      if (existsSync(socketPath) && (await answers(socketPath))) return
      await sleep(20)
    }
  }
  const stop = async (): Promise<void> => {
    running?.child.kill('SIGTERM')
    await running?.ended
    running = undefined
  }
  await start()
  return {
    socketPath,
    folder,
    start,
    stop,
    async [Symbol.asyncDispose]() {
      await stop()
      // A shim whose machine a failed test has left holds mounts below the folder.
      const mounts = readFileSync('/proc/self/mounts', 'utf8')
        .split('\n')
        .flatMap((line) => line.split(' ')[1] ?? [])
      for (const mount of mounts.filter((path) => path.startsWith(`${folder}/`)).reverse()) await runTool('umount', ['--lazy', mount])
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function answers(socketPath: string): Promise<boolean> {
  const link = connect(socketPath, 'default')
  try {
    await (await link.get()).version.version({}, { timeoutMs: 2000 })
    return true
  } catch {
    return false
  } finally {
    link.close()
  }
}

/** The bridge of the default network stays, as Docker's does: a test that published ports removes it. */
export async function removeDefaultNetwork(options: ContainerdOptions): Promise<void> {
  const driver = containerd(options)
  await driver.networks
    ?.remove('vmkit-default', { signal: new AbortController().signal, deadline: undefined, report: () => {} })
    .catch((error: unknown) => {
      if (!hasCode(error, 'NOT_FOUND', 'BACKEND_UNAVAILABLE')) throw error
    })
  await driver.close()
}
