/** Daemons that tests take away and bring back. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, open, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { BACKENDS } from '../../../scripts/lib/backends.js'
import type { Certificates } from './certificates.js'
import { engineSocket, raw } from './engine.js'

/** Ends dockerd as an init system would, and waits until it is gone. */
export async function stopNext(): Promise<void> {
  const folder = dirname(engineSocket('VMKIT_DOCKER_NEXT_SOCKET', false) ?? '')
  const pid = Number(await readFile(join(folder, 'dockerd.pid'), 'utf8'))
  process.kill(pid, 'SIGTERM')
  while (existsSync(`/proc/${pid}`)) await sleep(20)
}

export async function startBackends(): Promise<void> {
  await promisify(execFile)(BACKENDS, ['up'])
}

/** A dockerd of this test alone, which it may take away as it likes. */
export interface OwnDaemon extends AsyncDisposable {
  readonly socketPath: string
  /** Ends it as an init system would, and waits until it is gone. */
  stop(): Promise<void>
  /** It dies at once, and its containers live on. */
  kill(): Promise<void>
  start(): Promise<void>
}

interface OwnOptions {
  liveRestore?: boolean
  /** With checkpoints, by the CRIU in this folder. */
  criu?: string
  /** It also listens here, for clients with a certificate. */
  tls?: Certificates & { port: number }
}

export async function ownDaemon({ liveRestore = false, criu, tls }: OwnOptions): Promise<OwnDaemon> {
  const folder = await mkdtemp(join(tmpdir(), 'vmkit-dockerd-'))
  const socketPath = join(folder, 'docker.sock')
  const config = {
    hosts: [`unix://${socketPath}`, ...(tls ? [`tcp://127.0.0.1:${tls.port}`] : [])],
    ...(tls ? { tlsverify: true, tlscacert: tls.ca, tlscert: tls.serverCert, tlskey: tls.serverKey } : {}),
    'data-root': join(folder, 'data'),
    'exec-root': join(folder, 'exec'),
    pidfile: join(folder, 'dockerd.pid'),
    'exec-opts': ['native.cgroupdriver=cgroupfs'],
    'cgroup-parent': `/${basename(folder)}`,
    bridge: await bridge('up'),
    iptables: false,
    'live-restore': liveRestore,
    experimental: criu !== undefined,
    'shutdown-timeout': 2,
  }
  await writeFile(join(folder, 'daemon.json'), JSON.stringify(config))
  let running: { child: ChildProcess; ended: Promise<unknown> } | undefined
  const start = async (): Promise<void> => {
    const log = await open(join(folder, 'dockerd.log'), 'a')
    const child = spawn('dockerd', ['--config-file', join(folder, 'daemon.json')], {
      stdio: ['ignore', log.fd, log.fd],
      detached: true,
      env: { ...process.env, PATH: `${criu === undefined ? '' : `${criu}:`}${process.env.PATH}` },
    })
    running = { child, ended: once(child, 'exit') }
    await log.close()
    for (;;) {
      const { status } = await raw(socketPath, 'GET', '/_ping').catch(() => ({ status: 0 }))
      if (status === 200) return
      if (child.exitCode !== null) throw new Error(`dockerd ended: ${await readFile(join(folder, 'dockerd.log'), 'utf8')}`)
      await sleep(20)
    }
  }
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    running?.child.kill(signal)
    await running?.ended
    running = undefined
  }
  const stop = () => end('SIGTERM')
  const kill = async (): Promise<void> => {
    await end('SIGKILL')
    // Its containerd dies with it; where nobody reaps that, its pid would pass for one that runs.
    await rm(join(folder, 'exec/containerd/containerd.pid'), { force: true })
  }
  const dispose = async (): Promise<void> => {
    if (running === undefined) await start()
    // With live-restore, containers would outlive it.
    const all = JSON.parse((await raw(socketPath, 'GET', '/containers/json?all=1')).body) as { Id: string }[]
    for (const { Id } of all) await raw(socketPath, 'DELETE', `/containers/${Id}?force=1&v=1`)
    await stop()
    // With live-restore it leaves its own mounts.
    const mounts = (await readFile('/proc/self/mounts', 'utf8')).split('\n').map((line) => line.split(' ')[1] ?? '')
    for (const mount of mounts.filter((path) => path.startsWith(`${folder}/`)).reverse()) await promisify(execFile)('umount', [mount])
    await bridge('down')
    await rm(folder, { recursive: true })
    for (const hierarchy of await readdir('/sys/fs/cgroup'))
      await rmdir(join('/sys/fs/cgroup', hierarchy, basename(folder))).catch(() => {})
  }
  await start()
  return { socketPath, start, stop, kill, [Symbol.asyncDispose]: dispose }
}

/** With its own bridge it leaves docker0, which is another daemon's, alone; one without networks removes it. */
async function bridge(wanted: 'up' | 'down'): Promise<string> {
  const name = `vmkit${process.pid}`
  const ip = (...args: string[]) => promisify(execFile)('ip', args)
  if (wanted === 'up') {
    await ip('link', 'add', name, 'type', 'bridge')
    await ip('address', 'add', '10.213.0.1/24', 'dev', name)
  } else {
    await ip('link', 'delete', name)
  }
  return name
}
