/** What machines may leave behind on this host, kind by kind, so that each can be counted. */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { connect } from './engine.js'

interface Where {
  socketPath: string
  namespace: string
  stateDir: string
  /** Of machines, by their ids: what others than containerd and the state folder keep is known by them alone. */
  uids?: readonly string[]
}

type Kind = 'container' | 'task' | 'shim' | 'cgroup' | 'snapshot' | 'lease' | 'mount' | 'netns' | 'address' | 'rule' | 'log' | 'fifo'

/** Committed snapshots are layers of images, which stay. */
const COMMITTED = 3

export async function tracesByKind({ socketPath, namespace, stateDir, uids = [] }: Where): Promise<Record<Kind | 'state', string[]>> {
  const link = connect(socketPath, namespace)
  try {
    const client = await link.get()
    const snapshot: string[] = []
    for (const snapshotter of ['overlayfs', 'native'])
      for await (const { info } of client.snapshots.list({ snapshotter }))
        snapshot.push(...info.filter(({ kind }) => kind !== COMMITTED).map(({ name }) => name))
    const root = join(stateDir, namespace)
    const machines = entries(join(root, 'machines'))
    const container = (await client.containers.list({})).containers.map(({ id }) => id)
    return {
      container,
      task: (await client.tasks.list({})).tasks.map(({ id }) => id),
      shim: await shimsOf(namespace, container),
      cgroup: cgroupsOf(uids),
      snapshot,
      lease: (await client.leases.list({})).leases.map(({ id }) => id),
      mount: mountsBelow(stateDir),
      netns: entries(join(root, 'netns')),
      address: addressesOf(uids),
      rule: rulesOf(uids),
      log: machines.flatMap((uid) => entries(join(root, 'machines', uid)).filter((name) => /^(stdout|stderr|console|log)$/.test(name))),
      fifo: entries(join(root, 'fifos')).flatMap((pool) => entries(join(root, 'fifos', pool))),
      state: [...machines, ...entries(join(stateDir, 'ports')), ...entries(join(stateDir, 'members'))],
    }
  } finally {
    link.close()
  }
}

/** One line for each. FIFOs are left out: a program that lives keeps them for its next command. */
export async function traces(where: Where): Promise<string[]> {
  const { fifo: _, ...found } = await tracesByKind(where)
  return Object.entries(found).flatMap(([kind, names]) => names.map((name) => `${kind} ${name}`))
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function mountsBelow(stateDir: string): string[] {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  return lines.flatMap((line) => line.split(' ')[4] ?? []).filter((path) => path.startsWith(`${stateDir}/`))
}

/** A shim hangs up before it ends, and containerd goes by the first: that of a container that is gone may take so long to be gone. */
const SHIM_ENDS_MS = 5000

async function shimsOf(namespace: string, containers: readonly string[]): Promise<string[]> {
  const startedAt = performance.now()
  for (;;) {
    const found = shimsNow(namespace)
    const isAwaited = found.some(({ id }) => !containers.includes(id)) && performance.now() - startedAt < SHIM_ENDS_MS
    if (!isAwaited) return found.map(({ pid, id }) => `${pid} of ${id}`)
    await delay(10)
  }
}

/** containerd's runtime/v2/README.md: a shim is told namespace and container on its command line. */
function shimsNow(namespace: string): { pid: string; id: string }[] {
  return entries('/proc').flatMap((pid) => {
    const args = /^\d+$/.test(pid) ? textOf(join('/proc', pid, 'cmdline')).split('\0') : []
    const argumentOf = (flag: string) => args[args.indexOf(flag) + 1] ?? ''
    return /containerd-shim/.test(args[0] ?? '') && argumentOf('-namespace') === namespace ? [{ pid, id: argumentOf('-id') }] : []
  })
}

/** In each hierarchy of v1, or the one of v2. */
function cgroupsOf(uids: readonly string[]): string[] {
  const known = new Set(uids)
  return ['', ...entries('/sys/fs/cgroup')].flatMap((hierarchy) =>
    entries(join('/sys/fs/cgroup', hierarchy, 'vmkit-containerd'))
      .filter((uid) => known.has(uid))
      .map((uid) => `${hierarchy} ${uid}`),
  )
}

/** host-local notes who has an address in a file of its name (containernetworking/plugins, ipam/host-local). */
function addressesOf(uids: readonly string[]): string[] {
  const parent = '/var/lib/cni/networks'
  return entries(parent)
    .flatMap((network) => entries(join(parent, network)).map((address) => join(parent, network, address)))
    .filter((file) => namesOne(textOf(file), uids))
}

/** portmap's and firewall's rules carry the id that the plugin was given. */
function rulesOf(uids: readonly string[]): string[] {
  if (uids.length === 0) return []
  const rules = execFileSync('iptables-save', { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 2 ** 26 })
  return rules.split('\n').filter((rule) => namesOne(rule, uids))
}

function namesOne(text: string, uids: readonly string[]): boolean {
  return uids.some((uid) => text.includes(`vmkit-${uid}`))
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
