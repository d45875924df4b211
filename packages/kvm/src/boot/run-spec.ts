/**
 * What PID 1 of the vmkit guest reads: NUL-ended keys and values in turn, so that any value survives and none is interpreted.
 * The keys are those of `guest/README.md`. Pure.
 */
import { invalidConfig, type MachineConfig } from '@vmkit/core/driver'
import type { ContainerConfig } from '@vmkit/oci'
import { DRIVER } from '../errors.js'
import type { ImageProcess } from '../qemu/machine-spec.js'
import { cpioArchive } from './cpio.js'

export type Records = readonly (readonly [key: string, value: string])[]

export function encodeRecords(records: Records): Buffer {
  return Buffer.concat(records.map(([key, value]) => Buffer.from(`${key}\0${value}\0`)))
}

/** The other way round; what is cut off is left out. */
export function decodeRecords(bytes: Buffer): Records {
  const texts = bytes.toString('utf8').split('\0').slice(0, -1)
  return Array.from({ length: Math.floor(texts.length / 2) }, (_, index) => [texts[index * 2] ?? '', texts[index * 2 + 1] ?? ''] as const)
}

/** Entry point and arguments of an image's machine: `command` replaces ENTRYPOINT and drops CMD, `args` replaces CMD. */
export function mainCommand(config: Pick<MachineConfig, 'command' | 'args'>, image: ContainerConfig = {}): string[] {
  const entrypoint = config.command ?? image.Entrypoint ?? []
  const args = config.args ?? (config.command ? [] : (image.Cmd ?? []))
  const command = [...entrypoint, ...args]
  if (command.length === 0)
    throw invalidConfig('config.command', 'a command: the image has none', undefined, { driver: DRIVER, operation: 'create' })
  return command
}

/** As whom, where and in what environment the programs of an image run. */
export function processOf(config: MachineConfig, image: ContainerConfig): ImageProcess {
  const imageEnv = (image.Env ?? []).filter((entry) => !((entry.split('=')[0] as string) in config.env))
  return {
    env: [...imageEnv, ...Object.entries(config.env).map(([name, value]) => `${name}=${value}`)],
    user: config.user ?? image.User ?? '',
    workdir: config.workdir || image.WorkingDir || '/',
  }
}

export interface RunFacts {
  /** Serial of the disk with the root file system. */
  root: string
  /** Names of the ports that the host made. */
  ports: readonly string[]
  /** As the guest sees them, in order: by DHCP, or QEMU's user-mode network with its fixed addresses. */
  nics: readonly ('user' | 'dhcp')[]
  shares?: readonly { kind: 'disk' | '9p' | 'virtiofs'; tag: string; target: string; readOnly: boolean }[]
}

/** qemu(1), `-netdev user`. */
const USER_NETWORK = { address: '10.0.2.15', mask: '255.255.255.0', gateway: '10.0.2.2', dns: '10.0.2.3' }

export function runRecords(config: MachineConfig, image: ContainerConfig, facts: RunFacts): Records {
  const { env, user, workdir } = processOf(config, image)
  const { dns } = USER_NETWORK
  return [
    ['root', facts.root],
    ...facts.ports.map((name) => ['port', name] as const),
    ['hostname', config.name],
    ...mainCommand(config, image).map((argument) => ['arg', argument] as const),
    ...env.map((entry) => ['env', entry] as const),
    ['user', user],
    ['workdir', workdir],
    ['tty', config.tty ? '1' : '0'],
    ['stdin', config.stdin ? '1' : '0'],
    ...(config.pids === undefined ? [] : [['pids', String(config.pids)] as const]),
    ...facts.nics.map((kind, index) => ['nic', `eth${index},${kind === 'user' ? userNetwork() : 'dhcp'}`] as const),
    ...(facts.nics.includes('user') ? [['dns', dns] as const] : []),
    ...(facts.shares ?? []).map(
      ({ kind, tag, target, readOnly }) => ['share', `${kind}:${tag}:${readOnly ? 'ro' : 'rw'}:${target}`] as const,
    ),
    ...config.files.map(({ path, mode }, index) => ['file', `${mode.toString(8)}:${index}:${path}`] as const),
  ]
}

function userNetwork(): string {
  const { address, mask, gateway } = USER_NETWORK
  return [address, mask, gateway].join(',')
}

/** Goes behind the guest's initramfs: the run's records, and the files to be placed before it starts. */
export function runArchive(records: Records, files: MachineConfig['files'] = []): Buffer {
  return cpioArchive([
    { name: 'spec', content: encodeRecords(records) },
    ...files.map(({ content }, index) => ({
      name: `files/${index}`,
      content: typeof content === 'string' ? Buffer.from(content) : content,
    })),
  ])
}
