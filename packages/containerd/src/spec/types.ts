/** The parts of the OCI runtime specification (1.0.2) that this driver writes. Its JSON travels inside an Any. */
export interface Spec {
  ociVersion: string
  process: SpecProcess
  root: { path: string; readonly: boolean }
  hostname: string
  mounts: SpecMount[]
  annotations: Record<string, string>
  hooks?: SpecHooks
  linux: SpecLinux
}

export interface SpecProcess {
  terminal: boolean
  consoleSize?: { height: number; width: number }
  user: SpecUser
  args: string[]
  env: string[]
  cwd: string
  capabilities?: Record<'bounding' | 'effective' | 'permitted' | 'inheritable' | 'ambient', string[]>
  rlimits?: { type: string; soft: number; hard: number }[]
  noNewPrivileges: boolean
  apparmorProfile?: string
  oomScoreAdj?: number
}

export interface SpecUser {
  uid: number
  gid: number
  additionalGids?: number[]
}

export interface SpecMount {
  destination: string
  type: string
  source: string
  options: string[]
}

export interface SpecHook {
  path: string
  args?: string[]
  env?: string[]
  timeout?: number
}

export type SpecHooks = Partial<
  Record<'prestart' | 'createRuntime' | 'createContainer' | 'startContainer' | 'poststart' | 'poststop', SpecHook[]>
>

export interface SpecDevice {
  path: string
  type: string
  major: number
  minor: number
  fileMode?: number
  uid?: number
  gid?: number
}

export interface SpecDeviceRule {
  allow: boolean
  type?: string
  major?: number
  minor?: number
  access: string
}

export interface SpecResources {
  devices?: SpecDeviceRule[]
  memory?: { limit?: number; reservation?: number; swap?: number }
  cpu?: { shares?: number; quota?: number; period?: number; cpus?: string }
  pids?: { limit: number }
}

export interface SpecSeccomp {
  defaultAction: string
  defaultErrnoRet?: number
  architectures: string[]
  syscalls: SpecSyscall[]
}

export interface SpecSyscall {
  names: string[]
  action: string
  errnoRet?: number
  args?: { index: number; value: number; valueTwo?: number; op: string }[]
}

export interface SpecLinux {
  namespaces: { type: string; path?: string }[]
  cgroupsPath: string
  resources: SpecResources
  devices: SpecDevice[]
  maskedPaths: string[]
  readonlyPaths: string[]
  rootfsPropagation?: string
  seccomp?: SpecSeccomp
  sysctl?: Record<string, string>
}
