import { existsSync } from 'node:fs'
import { availableParallelism, totalmem } from 'node:os'
import { join } from 'node:path'
import { type CallContext, type HostProbe, type Missing, unavailable, VMKitError } from '@vmkit/core/driver'
import { cgroupTraits, cgroupVersion } from './cgroup.js'
import type { LookingClient } from './grpc/connection.js'
import { hasCode } from './grpc/errors.js'
import type { Plugin } from './grpc/generated/introspection_pb.js'
import type { Host } from './host.js'
import { SNAPSHOTTER_FILTER } from './images/access.js'
import { choosePuller, type Daemon, explain, PULL_FILTERS } from './images/transfer/choose.js'
import { missingLogger } from './logs/logger.js'
import { findPlugin } from './net/cni.js'
import { MONITOR_FILTERS, missingMonitorAmong } from './restart.js'
import { type Criu, findCriu } from './snapshots/criu.js'
import { privateFolder } from './state-dir.js'

/** Capabilities that containerd never has here, with what a person wants to know. */
const NEVER: Missing = {
  rename: 'containerd knows a container by its id, which is made from the name and cannot change',
  devices: 'the runtime gives devices to a container only when it is created: `config.devices` works, attachDevice does not',
  console: 'a container has no serial console; `attach` gives the terminal of its main process',
  vnc: 'a container has no screen',
  build: 'containerd builds no images; BuildKit, which does, is a daemon of its own',
}

const START_IT = 'Start containerd, or name its socket with options.socketPath'

export async function probe(host: Host, ctx: CallContext): Promise<HostProbe> {
  try {
    const { socketPath, runtime } = host.options
    const client = await host.connection.look()
    const looksForCriu = (async () => findCriu(socketPath, runtime, join(privateFolder(host.root), 'criu.json')))()
    // Told below, after what is wrong with the daemon: who may not open its socket may seldom write the state folder.
    looksForCriu.catch(() => {})
    // The namespace is made beside the questions, which need none: the first call of most programs is this one.
    const [{ version, plugins }] = await Promise.all([askDaemon(client, ctx), host.looking()])
    const criu = await looksForCriu
    const restart = missingMonitorAmong(plugins)
    const snapshotter = host.images.snapshotterAmong(plugins)
    const found: HostProbe = {
      available: true,
      engine: `containerd ${version.replace(/^v/, '').replace(/~.*$/, '')}`,
      missing: {
        ...NEVER,
        ...missingLimits(),
        ...missingNetworks(host),
        ...missingLogs(host),
        ...(restart === undefined ? {} : { restart }),
        ...missingMemory(criu),
      },
      resources: { cpus: availableParallelism(), memoryBytes: totalmem() },
      details: {
        socket: host.options.socketPath,
        namespace: host.options.namespace,
        version,
        runtime: host.options.runtime,
        snapshotter,
        snapshotters: plugins
          .filter(({ type, initErr }) => type === 'io.containerd.snapshotter.v1' && !initErr)
          .map(({ id }) => id)
          .join(', '),
        pulls: whoPulls(host, { version, plugins, snapshotter }),
        'cgroup version': String(cgroupVersion()),
        'CNI plugins': host.options.cni.binDirs.filter((folder) => existsSync(folder)).join(', ') || 'none',
        CRIU: criu.version ?? 'none',
        'state folder': host.root,
      },
    }
    return (await host.variation.refineProbe?.(found, ctx)) ?? found
  } catch (error) {
    ctx.signal.throwIfAborted()
    const { code, message, hint = code === 'BACKEND_UNAVAILABLE' ? START_IT : undefined } = VMKitError.from(error)
    return { ...unavailable(error, NEVER), hint, tried: [{ target: host.options.socketPath, result: message }] }
  }
}

function whoPulls({ options, driver }: Host, daemon: Daemon): string {
  try {
    return explain(choosePuller(options.pullBy, daemon, driver))
  } catch (error) {
    return VMKitError.from(error).message
  }
}

/** Of some sixty plugins a probe goes by a dozen. */
const PLUGINS_ASKED = [SNAPSHOTTER_FILTER, ...MONITOR_FILTERS, ...PULL_FILTERS]

/** A connection that broke since the last call tells nothing of the daemon now: that is asked over a new one. */
async function askDaemon(client: LookingClient, { signal }: CallContext): Promise<Pick<Daemon, 'version'> & { plugins: Plugin[] }> {
  const ask = async () => {
    const [{ version }, { plugins }] = await Promise.all([
      client.version.version({}, { signal }),
      client.introspection.plugins({ filters: PLUGINS_ASKED }, { signal }),
    ])
    return { version, plugins }
  }
  return ask().catch((error: unknown) => {
    if (!hasCode(error, 'BACKEND_UNAVAILABLE')) throw error
    return ask()
  })
}

function missingLimits(): Missing {
  const traits = cgroupTraits()
  const lack = (what: string): string => `the kernel has no cgroup controller for ${what} here (cgroup v${cgroupVersion()})`
  return {
    ...(traits.cpu ? {} : { 'limits.cpu': lack('CPU time') }),
    ...(traits.memory ? {} : { 'limits.memory': lack('memory') }),
    ...(traits.pids ? {} : { 'limits.pids': lack('processes') }),
    ...(traits.cpu || traits.memory || traits.pids ? {} : { resize: 'the kernel has no cgroup controllers here' }),
    ...(traits.freezer ? {} : { pause: 'the kernel has no cgroup freezer here' }),
  }
}

/** What the networks that vmkit makes are built from. */
const PLUGINS = ['bridge', 'firewall', 'portmap', 'host-local']

function missingNetworks({ options }: Host): Missing {
  const lacking = PLUGINS.filter((type) => findPlugin(options.cni, type) === undefined)
  if (lacking.length === 0) return {}
  const reason = `the CNI plugins ${lacking.join(', ')} are in none of ${options.cni.binDirs.join(', ')}; Debian has them in containernetworking-plugins`
  return { networks: reason, ports: reason }
}

function missingLogs({ options }: Host): Missing {
  if (options.logs.mode === 'timestamps') {
    const reason = missingLogger()
    return reason === undefined ? {} : { logs: reason, 'logs.since': reason }
  }
  return { 'logs.since': "plain log files keep no times; the option `logs: { mode: 'timestamps' }` runs a logger that writes them" }
}

function missingMemory({ missing: reason }: Criu): Missing {
  return reason === undefined ? {} : { 'snapshot.memory': reason, 'clone.memory': reason, 'migrate.live': reason }
}
