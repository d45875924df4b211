/** What the Engine API answers: only the fields used here (Docker Engine API v1.41, "Containers", "Images", "System"). */
export interface ContainerState {
  Status: string
  Running: boolean
  Paused: boolean
  Restarting: boolean
  OOMKilled: boolean | null
  Dead: boolean
  Pid: number
  ExitCode: number
  Error: string
  StartedAt: string
  FinishedAt: string
  Health?: { Status: string }
}

export interface PortBinding {
  HostIp: string
  HostPort: string
}

export interface EndpointSettings {
  IPAddress?: string
  GlobalIPv6Address?: string
  NetworkID?: string
}

export interface ContainerInspect {
  Id: string
  Name: string
  Created: string
  Image: string
  State: ContainerState
  RestartCount: number
  Config: {
    Labels: Record<string, string> | null
    Tty: boolean
    OpenStdin: boolean
    StdinOnce?: boolean
    StopTimeout?: number
    WorkingDir: string
    Image: string
    StopSignal?: string
  }
  HostConfig: {
    NetworkMode: string
    Runtime?: string
    RestartPolicy?: { Name: string }
    NanoCpus?: number
    Memory?: number
    PidsLimit?: number | null
  }
  NetworkSettings: {
    Ports?: Record<string, PortBinding[] | null> | null
    Networks?: Record<string, EndpointSettings> | null
    IPAddress?: string
  }
}

export interface ContainerListEntry {
  Id: string
  Names: string[]
  Labels: Record<string, string> | null
  State: string
  Status: string
  Created: number
}

export interface EngineInfo {
  ServerVersion: string
  Driver: string
  CgroupVersion?: string
  CgroupDriver?: string
  NCPU: number
  MemTotal: number
  MemoryLimit?: boolean
  CpuCfsQuota?: boolean
  PidsLimit?: boolean
  ExperimentalBuild?: boolean
  Runtimes?: Record<string, unknown> | null
  DefaultRuntime?: string
  SecurityOptions?: string[] | null
  LiveRestoreEnabled?: boolean
  OperatingSystem?: string
  OSType?: string
  CDISpecDirs?: string[] | null
}

export interface EngineVersion {
  Version: string
  ApiVersion: string
  MinAPIVersion?: string
  Components?: { Name: string; Version: string }[]
}

export interface ImageInspect {
  Id: string
  RepoTags?: string[] | null
  RepoDigests?: string[] | null
  Size: number
  Created: string
  /** That of the commit which made it. */
  Comment?: string
  Config?: { Labels?: Record<string, string> | null } | null
}

export interface ImageListEntry {
  Id: string
  RepoTags?: string[] | null
  Size: number
  Created: number
  Labels?: Record<string, string> | null
}

export interface ExecInspect {
  Running: boolean
  ExitCode: number | null
  Pid: number
}

export interface VolumeEntry {
  Name: string
  Labels?: Record<string, string> | null
  CreatedAt?: string
}

export interface NetworkEntry {
  Name: string
  Id: string
  Labels?: Record<string, string> | null
}

/** One line of a pull, build or load. */
export interface ProgressLine {
  status?: string
  stream?: string
  id?: string
  progressDetail?: { current?: number; total?: number }
  error?: string
  errorDetail?: { code?: number; message?: string }
  aux?: { ID?: string }
}

export interface StatsAnswer {
  read: string
  cpu_stats?: { cpu_usage?: { total_usage?: number; usage_in_usermode?: number; usage_in_kernelmode?: number } }
  memory_stats?: { usage?: number; limit?: number; stats?: Record<string, number> }
  pids_stats?: { current?: number }
  networks?: Record<string, { rx_bytes: number; tx_bytes: number }>
  blkio_stats?: { io_service_bytes_recursive?: { op: string; value: number }[] | null }
}

export interface EventLine {
  Type: string
  Action: string
  Actor: { ID: string; Attributes?: Record<string, string> }
  time: number
  timeNano?: number
}

/** Go's zero time: nothing happened yet. */
export function timeOf(value: string | undefined): number | null {
  if (value === undefined || value === '' || value.startsWith('0001-01-01')) return null
  const parsed = Date.parse(value)
  return Number.isFinite(parsed) ? parsed : null
}
