import type { MachineConfig } from '@vmkit/core/driver'

/*
 * Labels are the only memory: a container tells by them that it is vmkit's and what it was asked to be. The engine copies
 * the labels of a container into an image committed from it, and those of an image into its containers; so the mark is
 * overwritten in images, and `docker run` of a snapshot makes no machine.
 */
export const LABEL = {
  /** `docker` on a machine; something else on what belongs to one. */
  mark: 'vmkit.machine',
  config: 'vmkit.config',
  /** Stays the same when a restore makes a new container. */
  uid: 'vmkit.uid',
  /** On a container that takes another's place: the id it replaces. Until that one is gone, it is no machine. */
  replaces: 'vmkit.replaces',
  /** The name that such a container has until it gets the machine's. */
  waitsAs: 'vmkit.waits-as',
  /** Followed by an earlier id of the machine. */
  previous: 'vmkit.previous.',
  restoredFrom: 'vmkit.restored',
  snapshotTag: 'vmkit.snapshot.tag',
  snapshotAt: 'vmkit.snapshot.at',
  /** On an image, what names the one commit that made it: one that was cut short may have no name yet. */
  snapshotKey: 'vmkit.snapshot.key',
} as const

const MACHINE = 'docker'
const INTERNAL = new Set<string>([LABEL.mark, LABEL.config, LABEL.uid, LABEL.replaces, LABEL.waitsAs, LABEL.restoredFrom, 'vmkit.incoming'])

type Labels = Readonly<Record<string, string>>

export function isMachine(labels: Labels | null | undefined): boolean {
  return labels?.[LABEL.mark] === MACHINE
}

/** The labels of a new container. The contents of `files` are in the container by then, so they are not kept a second time. */
export function machineLabels(config: MachineConfig, uid: string, extra: Labels = {}): Record<string, string> {
  const { labels, ...rest } = config
  return { ...labels, ...extra, [LABEL.mark]: MACHINE, [LABEL.uid]: uid, [LABEL.config]: JSON.stringify({ ...rest, files: [] }) }
}

/** What the maker of the machine and core put on it. */
export function publicLabels(labels: Labels | null | undefined): Record<string, string> {
  const isInternal = (key: string, value: string) =>
    INTERNAL.has(key) ||
    key.startsWith('vmkit.previous.') ||
    key.startsWith('vmkit.snapshot.') ||
    (key === 'vmkit.expires' && value === 'never')
  return Object.fromEntries(Object.entries(labels ?? {}).filter(([key, value]) => !isInternal(key, value)))
}

/** The config a machine was made with, under the name it has now; `undefined` when its label was tampered with. */
export function configOf(labels: Labels | null | undefined, containerName: string): MachineConfig | undefined {
  const config = madeWith(labels)
  return config && { ...config, name: nameOf(labels, containerName), labels: publicLabels(labels) }
}

function madeWith(labels: Labels | null | undefined): MachineConfig | undefined {
  try {
    return JSON.parse(labels?.[LABEL.config] ?? '') as MachineConfig
  } catch {
    return undefined
  }
}

/** The name that the machine has, also while its container still waits for it. */
export function nameOf(labels: Labels | null | undefined, containerName: string): string {
  const name = containerName.replace(/^\//, '')
  // To parse every config for its name is most of what a long list costs.
  const waits = labels?.[LABEL.waitsAs] === name
  return (waits ? madeWith(labels)?.name : undefined) ?? name
}
