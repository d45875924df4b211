/**
 * What a machine can do, as data. One table holds, for every flag, the driver methods that implement it and the config
 * fields that need it; registration, refusal and the conformance kit all read this table.
 */
import type { ConfigField } from './config/types.js'

interface CapabilityRow<M extends string = string> {
  /** One line for people. */
  summary: string
  /** Dotted names of the driver methods that must exist exactly when the flag is claimed. */
  methods: readonly M[]
  /** Config fields that only a driver with this flag honours. */
  fields: readonly ConfigField[]
}

const SNAPSHOT_METHODS = ['snapshot', 'restore', 'listSnapshots', 'deleteSnapshot'] as const
const MIGRATION_METHODS = ['prepareIncoming', 'migrateOut', 'finishIncoming', 'cancelIncoming'] as const

function row<M extends string = never>(summary: string, methods: readonly M[] = [], fields: readonly ConfigField[] = []): CapabilityRow<M> {
  return { summary, methods, fields }
}

const TABLE = {
  pause: row('freeze and thaw the machine', ['pause', 'resume']),
  exec: row('run a command and collect its output', ['exec|execStream']),
  'exec.stream': row('run a command with live streams', ['execStream']),
  'exec.stdin': row('write to the stdin of a command'),
  'exec.tty': row('run a command on a resizable terminal'),
  'exec.kill': row('end a running command and its children; timeouts need it'),
  logs: row('read what the machine wrote', ['logs']),
  'logs.since': row('read what the machine wrote since a time'),
  attach: row('the main process: its output, its stdin, its terminal', ['attach'], ['stdin']),
  events: row('hear what happens to machines, whoever does it', ['events']),
  files: row('read, write, list and remove files', ['files.read', 'files.write', 'files.list', 'files.remove']),
  'files.archive': row('copy trees in and out as tar streams', ['files.pack', 'files.unpack']),
  console: row('the serial console', ['console']),
  vnc: row('the screen, over VNC and as a picture', ['vnc', 'screenshot']),
  ports: row('reach a port of the machine from this host', [], ['ports']),
  mounts: row('folders of this host inside the machine', [], ['mounts']),
  volumes: row('named volumes', ['volumes.create', 'volumes.list', 'volumes.remove'], ['volumes']),
  networks: row('named networks', ['networks.create', 'networks.list', 'networks.remove'], ['networks']),
  restart: row('start again by itself when it ends', [], ['restart']),
  'limits.cpu': row('a limit, or a number, of CPUs', [], ['cpus']),
  'limits.memory': row('a limit of memory', [], ['memory']),
  'limits.pids': row('a limit of processes', [], ['pids']),
  resize: row('change limits while it runs', ['resize']),
  rename: row('give it another name', ['rename']),
  devices: row('give it devices', ['attachDevice', 'detachDevice'], ['devices']),
  'snapshot.disk': row('save and restore the disk', SNAPSHOT_METHODS),
  'snapshot.memory': row('save and restore the memory', SNAPSHOT_METHODS),
  clone: row('make a new machine from a snapshot', ['clone']),
  // Refused by the driver: core does not know which tags hold memory.
  'clone.memory': row('make a new machine that runs from a memory snapshot'),
  'migrate.cold': row('move a stopped machine to another host', MIGRATION_METHODS),
  'migrate.live': row('move a running machine to another host', MIGRATION_METHODS),
  images: row('pull, list, remove and import images', ['images.pull', 'images.list', 'images.remove', 'images.import'], ['image', 'pull']),
  'images.export': row('take an image out as an archive', ['images.export']),
  build: row('build an image from a folder', ['images.build']),
  bundle: row('carry a machine to another driver', ['exportBundle', 'importBundle']),
}

export type Capability = keyof typeof TABLE

export const CAPABILITIES: readonly Capability[] = Object.freeze(Object.keys(TABLE) as Capability[])

/** The table itself: flag → summary, driver methods, config fields. */
export const CAPABILITY_TABLE: Readonly<Record<Capability, Readonly<CapabilityRow>>> = Object.freeze(TABLE)

/**
 * What a driver claims. `true`: wherever its backend runs. `'probe'`: depends on the host or the machine; the probe gives
 * the reason where it is missing. Absent: never.
 */
export type CapabilityManifest = { readonly [K in Capability]?: true | 'probe' }

/** Dotted names of the methods that the claims of a manifest bring. Where it may be one of two, `'exec|execStream'`. */
export type ClaimedMethod<C extends CapabilityManifest> = (typeof TABLE)[keyof C & Capability]['methods'][number]

/** The manifest of a driver that is known only at run time: everything is asked for with `supports()`. */
export type AnyCapabilities = { readonly [K in Capability]: 'probe' }

export function isCapability(name: string): name is Capability {
  return typeof name === 'string' && Object.hasOwn(TABLE, name)
}

const FIELD_CAPABILITY = new Map<ConfigField, Capability>(
  CAPABILITIES.flatMap((capability) => TABLE[capability].fields.map((field) => [field, capability] as const)),
)

/** The capability that a config field needs; `undefined` when none does. */
export function capabilityOfField(field: ConfigField): Capability | undefined {
  return FIELD_CAPABILITY.get(field)
}
