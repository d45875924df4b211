import { VMKitError } from '@vmkit/core'
import type { MachineConfig } from '@vmkit/core/driver'

interface Row {
  words: RegExp
  /** `undefined` where the words are about something that the config does not have. */
  field(config: MachineConfig, words: string, match: RegExpExecArray): string | undefined
}

/**
 * What the engine complains of → the field of the config that it means. The first match wins. The words are those of Docker
 * 20.10 to 28 and of Podman 4; the integration tests provoke them.
 */
const ROWS: readonly Row[] = [
  { words: /container name .*already in use/i, field: () => 'config.name' },
  { words: /port is already allocated|address already in use|failed to bind (host )?port/i, field: takenAddress },
  { words: /invalid reference format/i, field: () => 'config.image' },
  {
    words: /bind source path does not exist: (.*)/i,
    field: ({ mounts }, _words, [, path]) =>
      indexed(
        'mounts',
        mounts.findIndex(({ source }) => source === path?.trim()),
        'source',
      ),
  },
  { words: /destination can't be '\/'/i, field: (config) => target(config, ({ target }) => /^\/+$/.test(target)) },
  {
    words: /duplicate mount (?:point|destination): (.*)/i,
    field: (config, _words, [, path]) => target(config, ({ target }) => target === path),
  },
  { words: /minimum memory limit/i, field: ({ memory }) => (memory === undefined ? undefined : 'config.memory') },
  { words: /range of cpus/i, field: ({ cpus }) => (cpus === undefined ? undefined : 'config.cpus') },
  {
    words: /unable to find (?:user|group)|no matching entries in (?:passwd|group)/i,
    field: ({ user }) => (user === undefined ? undefined : 'config.user'),
  },
  {
    words: /executable file .*not found|exec: .*(?:no such file or directory|permission denied)/i,
    field: ({ command }, words) => (command?.[0] !== undefined && words.includes(command[0]) ? 'config.command.0' : undefined),
  },
  {
    words: /custom device "?([^":]+)"?/i,
    field: ({ devices }, _words, [, path]) =>
      indexed(
        'devices',
        devices.findIndex((device) => device.type === 'host' && device.path === path),
        'path',
      ),
  },
  {
    words: /could not select device driver/i,
    field: ({ devices }) =>
      indexed(
        'devices',
        devices.findIndex(({ type }) => type === 'gpu'),
      ),
  },
  { words: /unknown (?:or invalid )?runtime|runtime "?\S+"? not found/i, field: ownOption('runtime') },
  { words: /seccomp profile/i, field: ownOption('securityOpt') },
]

/** A port of this host that is taken, or an address of a network. */
function takenAddress({ ports, networks }: MachineConfig, words: string): string | undefined {
  const isNamed = (address: string) => words.includes(address) && !/^\d/.test(words.slice(words.indexOf(address) + address.length))
  const exact = ports.findIndex(({ hostIp, host }) => host !== 0 && isNamed(`${hostIp.includes(':') ? `[${hostIp}]` : hostIp}:${host}`))
  const port = exact >= 0 ? exact : ports.findIndex(({ host }) => host !== 0 && isNamed(`:${host}`))
  const ip = networks.findIndex((network) => network.ip !== undefined)
  return indexed('ports', port, 'host') ?? indexed('networks', ip, 'ip') ?? (ports.length > 0 ? 'config.ports' : undefined)
}

function target({ mounts, volumes }: MachineConfig, isIt: (mount: { target: string }) => boolean): string | undefined {
  // Of two with one target, it is the later one that is too many.
  const last = (list: readonly { target: string }[]): number => list.map(isIt).lastIndexOf(true)
  return indexed('volumes', last(volumes), 'target') ?? indexed('mounts', last(mounts), 'target')
}

function ownOption(name: string): Row['field'] {
  return ({ driverOptions }) => {
    const own = driverOptions.docker
    return typeof own === 'object' && own !== null && name in own ? `config.driverOptions.docker.${name}` : undefined
  }
}

function indexed(list: string, index: number, field?: string): string | undefined {
  return index < 0 ? undefined : ['config', list, index, ...(field === undefined ? [] : [field])].join('.')
}

/** The error with the field that its words are about, when it names none. `config` is asked for only when they are about one. */
export async function withField(error: unknown, config: () => MachineConfig | Promise<MachineConfig | undefined>): Promise<unknown> {
  if (!(error instanceof VMKitError) || error.field !== undefined) return error
  for (const { words, field } of ROWS) {
    const match = words.exec(error.message)
    if (!match) continue
    const known = await config()
    return known ? error.with({ field: field(known, error.message, match) }) : error
  }
  return error
}
