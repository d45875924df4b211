import { type CallContext, type HostProbe, type Missing, unavailable } from '@vmkit/core/driver'
import type { Engine, EngineFinder } from './engine.js'
import { abortReason } from './errors.js'
import { NO_MEMORY_CLONE } from './missing.js'
import type { EngineInfo } from './wire.js'

/** Capabilities that no engine gives this driver, with what a person wants to know. */
const NEVER: Missing = {
  'clone.memory': NO_MEMORY_CLONE,
  'migrate.live': 'the engine cannot restore a checkpoint that was made elsewhere',
  devices: 'the engine gives devices to a container only when it is created: `config.devices` works, attachDevice does not',
  console: 'a container has no serial console; `attach` gives the terminal of its main process',
  vnc: 'a container has no screen',
}

/** Where Podman's Docker API (seen with 4.3) answers otherwise than Docker. */
const NOT_ON_PODMAN: Missing = {
  'logs.since': 'Podman tells the times of log lines in whole seconds',
  events: "not yet: Podman's Docker API leaves out the end of a container when it is asked for some events only",
  pause: 'not yet: Podman does not stop a container that is paused',
  resize: "Podman's Docker API has no call for it",
  restart: 'Podman starts a machine with a restart policy again although it was stopped',
}

export async function probe(finder: EngineFinder, ctx: CallContext): Promise<HostProbe> {
  try {
    const engine = await finder.get(ctx.signal)
    const info = await engine.json<EngineInfo>({ method: 'GET', path: '/info', signal: ctx.signal })
    if (info.OSType !== undefined && info.OSType !== 'linux') {
      return { available: false, reason: `the engine runs ${info.OSType} containers; vmkit needs linux ones`, missing: NEVER }
    }
    return hostProbe(engine, info, await checkpointProblem(engine, info))
  } catch (error) {
    if (ctx.signal.aborted) throw abortReason(ctx.signal)
    return unavailable(error, NEVER)
  }
}

async function checkpointProblem({ isPodman, endpoint }: Engine, { ExperimentalBuild }: EngineInfo): Promise<string | undefined> {
  if (isPodman) return "Podman's Docker API has no checkpoints"
  if (!ExperimentalBuild) return 'the engine was started without `"experimental": true`'
  if (!endpoint.target.startsWith('unix://')) return undefined
  const { criuProblem } = await import('./criu.js')
  return criuProblem(endpoint.target.slice('unix://'.length))
}

function hostProbe(
  engine: Pick<Engine, 'version' | 'apiVersion' | 'isPodman' | 'endpoint'>,
  info: EngineInfo,
  noCheckpoints: string | undefined,
): HostProbe {
  const isRootless = info.SecurityOptions?.some((option) => option.includes('rootless')) ?? false
  const name = engine.isPodman ? 'Podman' : 'Docker Engine'
  return {
    available: true,
    engine: `${name} ${engine.version.Version}`,
    missing: {
      ...NEVER,
      ...missingLimits(info),
      ...(engine.isPodman ? NOT_ON_PODMAN : {}),
      ...(noCheckpoints === undefined ? {} : { 'snapshot.memory': noCheckpoints }),
    },
    resources: { cpus: info.NCPU, memoryBytes: info.MemTotal },
    details: {
      endpoint: engine.endpoint.target,
      'endpoint source': engine.endpoint.source,
      'API version': engine.apiVersion,
      'storage driver': info.Driver,
      'cgroup version': info.CgroupVersion ?? 'unknown',
      'cgroup driver': info.CgroupDriver ?? 'unknown',
      runtimes: Object.keys(info.Runtimes ?? {}).join(', '),
      'default runtime': info.DefaultRuntime ?? 'unknown',
      experimental: String(info.ExperimentalBuild ?? false),
      rootless: String(isRootless),
      'live restore': String(info.LiveRestoreEnabled ?? false),
    },
  }
}

/** `false` means that the engine would warn and go on without the limit. */
function missingLimits({ MemoryLimit, CpuCfsQuota, PidsLimit, CgroupVersion, CgroupDriver }: EngineInfo): Missing {
  const missing: Missing = {}
  const lack = (what: string) => `the engine has no cgroup controller for ${what} here (cgroup v${CgroupVersion ?? '?'})`
  if (CpuCfsQuota === false) missing['limits.cpu'] = lack('CPU time')
  if (MemoryLimit === false) missing['limits.memory'] = lack('memory')
  if (PidsLimit === false) missing['limits.pids'] = lack('processes')
  if (CpuCfsQuota === false && MemoryLimit === false && PidsLimit === false) missing.resize = 'the engine has no cgroup controllers here'
  if (CgroupDriver === 'none') missing.pause = 'without cgroups the engine has no freezer'
  return missing
}
