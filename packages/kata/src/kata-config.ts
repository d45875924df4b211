import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { VMKitError } from '@vmkit/core/driver'
import { parse } from 'smol-toml'

/** What this driver reads of a configuration file of Kata (configuration-*.toml.in of its sources). */
export interface KataConfig {
  path: string
  /** `qemu`, `clh`, `cloud-hypervisor`, `firecracker`, `dragonball`, `stratovirt`, `acrn`, `remote`. */
  hypervisor: string
  /** `undefined` for one that is built into the shim. */
  hypervisorPath?: string
  /** Regular expressions. */
  enableAnnotations: readonly string[]
  /** Lists of globs, by their key. */
  validPaths: Readonly<Record<string, readonly string[]>>
  sharedFs?: string
  confidentialGuest: boolean
  defaultVcpus?: number
  /** MiB. */
  defaultMemory?: number
  /** Kata's own default is that no system-call filter is set in the guest. */
  disableGuestSeccomp: boolean
  networkModel?: string
  /** The VM is given its final size when it starts. */
  staticResources: boolean
}

type Table = Record<string, unknown>

/** The places in which the shims look, in their order (kata-types `DEFAULT_RUNTIME_CONFIGURATIONS`; katautils). */
export const DEFAULT_PATHS = {
  go: [
    '/etc/kata-containers/configuration.toml',
    '/usr/share/defaults/kata-containers/configuration.toml',
    '/opt/kata/share/defaults/kata-containers/configuration.toml',
  ],
  rust: [
    '/etc/kata-containers/runtime-rs/configuration.toml',
    '/usr/share/defaults/kata-containers/runtime-rs/configuration.toml',
    '/opt/kata/share/defaults/kata-containers/runtime-rs/configuration.toml',
  ],
} as const

/** The file with its drop-ins (`config.d/*.toml` beside it), which both shims merge in the order of their names. */
export function readKataConfig(path: string): KataConfig {
  const folder = join(dirname(path), 'config.d')
  const dropIns = existsSync(folder)
    ? readdirSync(folder)
        .filter((name) => name.endsWith('.toml'))
        .sort()
    : []
  const files = [path, ...dropIns.map((name) => join(folder, name))]
  return kataConfigOf(path, files.map(parseFile).reduce(merge))
}

function parseFile(path: string): Table {
  try {
    return parse(readFileSync(path, 'utf8')) as Table
  } catch (error) {
    throw new VMKitError(
      'BACKEND_UNAVAILABLE',
      `Kata's configuration file ${path} cannot be read: ${(error as Error).message.split('\n')[0]}`,
      {
        driver: 'kata',
        retryable: false,
        cause: error,
      },
    )
  }
}

function merge(base: Table, over: Table): Table {
  const result: Table = { ...base }
  for (const [key, value] of Object.entries(over)) {
    const present = Object.hasOwn(result, key) ? result[key] : undefined
    result[key] = isTable(present) && isTable(value) ? merge(present, value) : value
  }
  return result
}

const isTable = (value: unknown): value is Table => typeof value === 'object' && value !== null && !Array.isArray(value)
const table = (value: unknown): Table => (isTable(value) ? value : {})
const texts = (value: unknown): string[] => (Array.isArray(value) ? value.filter((each): each is string => typeof each === 'string') : [])
const text = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined)
const number = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined)

/** @param content the parsed TOML */
export function kataConfigOf(path: string, content: Table): KataConfig {
  const hypervisors = table(content.hypervisor)
  const runtime = table(content.runtime)
  // runtime-rs names the one it takes; the Go shim has a single section.
  const named = text(runtime.hypervisor_name)
  const hypervisor = named !== undefined && Object.hasOwn(hypervisors, named) ? named : (Object.keys(hypervisors)[0] ?? 'unknown')
  const section = table(hypervisors[hypervisor])
  const agent = table(table(content.agent)[text(runtime.agent_name) ?? 'kata'])
  return {
    path,
    hypervisor,
    hypervisorPath: text(section.path),
    enableAnnotations: texts(section.enable_annotations),
    validPaths: Object.fromEntries(
      Object.keys(section)
        .filter((key) => key.startsWith('valid_'))
        .map((key) => [key, texts(section[key])]),
    ),
    sharedFs: text(section.shared_fs),
    confidentialGuest: section.confidential_guest === true,
    defaultVcpus: number(section.default_vcpus),
    defaultMemory: number(section.default_memory),
    disableGuestSeccomp: (runtime.disable_guest_seccomp ?? agent.disable_guest_seccomp) !== false,
    networkModel: text(runtime.internetworking_model),
    staticResources: runtime.static_sandbox_resource_mgmt === true,
  }
}
