import { randomBytes } from 'node:crypto'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { posix } from 'node:path'
import { type CallContext, invalidConfig, type MachineConfig, VMKitError } from '@vmkit/core/driver'
import { withLock } from '@vmkit/core/state-folder'
import { specAny } from './any.js'
import { cgroupTraits } from './cgroup.js'
import { CLEANUP_MS } from './cleanup.js'
import { readAccounts } from './files/accounts.js'
import { withMounts } from './files/mount.js'
import { writeFileIn } from './files/operations.js'
import { hasCode } from './grpc/errors.js'
import type { Host } from './host.js'
import type { LikelyImage, MachineImage } from './images/ensure.js'
import { makersLease, withLease } from './images/leases.js'
import { machineOptions } from './machine-options.js'
import { checkNetworks } from './net/networks.js'
import { containerIdOf, extensionsOf, idOf, LABEL, type MachineRecord } from './record.js'
import { restartPolicy } from './restart.js'
import { runtimeOptions } from './runtime.js'
import { prepareRootfs, removeRootfs, rootfsKey } from './snapshots/rootfs.js'
import { buildSpec, type ImageProcess, workdirOf } from './spec/build.js'
import { ALL_CAPABILITIES } from './spec/defaults.js'
import { hostDevices } from './spec/devices.js'
import { hostCapabilities } from './spec/host-capabilities.js'
import { hostsFile, resolvConf } from './spec/host-files.js'
import { type Accounts, needsAccounts, resolveUser } from './spec/users.js'
import { machineFolder, netnsPath, privateFolder, removeFolder } from './state-dir.js'
import { ensureVolumes } from './volumes.js'

/** What a new machine has otherwise than its config says. */
export interface CreateVariant {
  /** Instead of the config's image: a snapshot's, or one that came from elsewhere. */
  image?(lease: string, ctx: CallContext): Promise<MachineImage>
  /** The files are in the image already. */
  skipFiles?: boolean
  extra?: Record<string, unknown>
}

const UID_BYTES = 8

/** containerd's docs/garbage-collection.md: what carries it is no garbage. */
const GC_ROOT = 'containerd.io/gc.root'

/** One for all namespaces: the runtime leaves it when the last machine goes. */
const CGROUP_PARENT = '/vmkit-containerd'

/** Makes the container and what belongs to it, all or nothing, and returns its id. */
export async function createMachine(host: Host, config: MachineConfig, ctx: CallContext, variant: CreateVariant = {}): Promise<string> {
  const { driver, root, variation } = host
  const options = machineOptions(config, driver)
  const containerd = await host.containerd()
  const containerId = containerIdOf(config.name)
  checkMounts(config)
  const networks = checkNetworks(host, config)
  const devices = await hostDevices(config.devices, driver)
  const restart = await restartPolicy(host, config, ctx)
  const annotations = variation.annotations?.(config)
  const likely = variant.image || options.platform ? undefined : await likelyImage(host, config, ctx)
  // Else the daemon tells, when the rest is done.
  if (!likely) await refuseTakenName(host, config.name, ctx)

  const uid = randomBytes(UID_BYTES).toString('hex')
  const id = idOf(containerId, uid)
  const folder = machineFolder(root, uid)
  privateFolder(folder.path)
  // The claim tells a folder that is being made from one whose maker was killed.
  return withLock({ id, folder: folder.path }, 'create', ctx.signal, async () => {
    const key = rootfsKey(uid)
    const undo: (() => unknown)[] = []
    try {
      const volumes = ensureVolumes(host, config)
      undo.unshift(volumes.undo)
      const hostname = options.hostname ?? uid.slice(0, 12)
      writeHostFiles(folder, hostname, options, networks === 'host')
      writeFileSync(folder.daemon, host.options.socketPath, { mode: 0o600 })
      /** Whether it was made: not of an image that is not there any more, which is looked at beside the making of the snapshot. */
      const make = async (image: MachineImage, lease?: string, isStill = async () => true): Promise<boolean> => {
        const { snapshotter, parent } = image
        const inImage = image.config.config ?? {}
        ctx.signal.throwIfAborted()
        undo.unshift(() => removeRootfs(containerd, { snapshotter, key }, { timeoutMs: CLEANUP_MS }))
        // Without a lease the snapshot holds itself; with the machine, or with the folder of one whose maker was killed, it goes.
        const labels: Record<string, string> = lease === undefined ? { [GC_ROOT]: new Date().toISOString() } : {}
        // Awaited whatever the caller does: the daemon goes on with a call whose client has left, and would make it after the undo.
        const [mounts, isThere] = await bothOf(
          prepareRootfs(containerd, { snapshotter, key, parent, labels }, { lease, vmId: id }),
          isStill(),
        )
        if (!isThere) return false
        ctx.signal.throwIfAborted()
        const user = config.user ?? inImage.User
        let accounts: Accounts = { passwd: '', group: '' }
        const files = variant.skipFiles ? [] : config.files
        if (needsAccounts(user) || files.length > 0) {
          for await (const found of withMounts(folder.rootfs, mounts, (mounted) => fill(mounted, { ...config, files }, inImage, ctx)))
            accounts = found
        }
        const field = config.user === undefined ? 'config.image' : 'config.user'
        const record: MachineRecord = {
          uid,
          config,
          createdAt: Date.now(),
          ...(config.stop.signal || inImage.StopSignal ? { stopSignal: config.stop.signal ?? inImage.StopSignal } : {}),
          root,
          cgroupsPath: `${options.cgroupParent ?? CGROUP_PARENT}/${uid}`,
          workdir: workdirOf(config, inImage),
          stamped: host.options.logs.mode === 'timestamps' || restart !== undefined,
          ...(variant.extra ? { extra: variant.extra } : {}),
        }
        const spec = buildSpec({
          config,
          options,
          image: inImage,
          user: resolveUser(user, accounts, field),
          host: devices,
          hostname,
          network: networks === 'host' || networks === 'none' ? networks : { path: netnsPath(root, uid) },
          hostFiles: folder,
          volumeFolders: volumes.folders,
          cgroupsPath: record.cgroupsPath,
          hasSwap: cgroupTraits().swap,
          arch: process.arch,
          // A sandbox has a kernel of its own, which has them all.
          grantable: variation.sandboxed ? () => ALL_CAPABILITIES : hostCapabilities,
          annotations,
        })
        ctx.signal.throwIfAborted()
        const container = {
          id: containerId,
          labels: { [LABEL.mark]: driver, [LABEL.uid]: uid, ...image.labels },
          image: image.name,
          runtime: { name: host.options.runtime, options: runtimeOptions(host, containerd) },
          spec: specAny(variation.adaptSpec?.(spec, config) ?? spec),
          snapshotter,
          snapshotKey: key,
          extensions: extensionsOf(record),
        }
        // Awaited likewise, and what it made is removed.
        await containerd.containers.create({ container }, { lease, vmId: id }).catch((error: unknown) => {
          throw hasCode(error, 'ALREADY_EXISTS') ? nameTaken(host, config.name) : error
        })
        undo.unshift(() => containerd.containers.delete({ id: containerId }, { timeoutMs: CLEANUP_MS }))
        return true
      }
      const isMade = likely !== undefined && (await unlessMissing(make(likely.image, undefined, likely.isStill)))
      if (!isMade) {
        if (likely) await removeRootfs(containerd, { snapshotter: likely.image.snapshotter, key }, { signal: ctx.signal, vmId: id })
        await withLease(containerd, { signal: ctx.signal, id: makersLease(uid) }, async (lease) =>
          make(await (variant.image?.(lease, ctx) ?? imageOf(host, config, lease, ctx, options.platform)), lease),
        )
      }
      ctx.signal.throwIfAborted()
      return id
    } catch (error) {
      if (await isUndone(undo)) removeFolder(folder)
      throw error
    }
  })
}

/** What a daemon that is gone could not take back is remembered by the folder, and goes with a later `list`. */
async function isUndone(steps: readonly (() => unknown)[]): Promise<boolean> {
  let isDone = true
  for (const step of steps) {
    await (async () => step())().catch(() => {
      isDone = false
    })
  }
  return isDone
}

/** Both are awaited, also when one of them fails. */
async function bothOf<A, B>(first: Promise<A>, second: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([first, second])
  return [await first, await second]
}

/** What the image stands on may be gone too. */
async function unlessMissing(making: Promise<boolean>): Promise<boolean> {
  try {
    return await making
  } catch (error) {
    if (hasCode(error, 'NOT_FOUND')) return false
    throw error
  }
}

/** Loaded here, as below. */
async function likelyImage(host: Host, config: MachineConfig, ctx: CallContext): Promise<LikelyImage | undefined> {
  return (await import('./images/ensure.js')).likelyImage(host.images, config, ctx)
}

/** Loaded here: to read images takes a while to load, and many programs make no machine. */
async function imageOf(host: Host, config: MachineConfig, lease: string, ctx: CallContext, platform?: string): Promise<MachineImage> {
  const { ensureImage } = await import('./images/ensure.js')
  return ensureImage(host.images, config, lease, ctx, platform)
}

export async function refuseTakenName(host: Host, name: string, { signal }: CallContext): Promise<void> {
  const containerd = await host.containerd()
  const isFree = await containerd.containers.get({ id: containerIdOf(name) }, { signal }).then(
    () => false,
    (error: unknown) => {
      if (hasCode(error, 'NOT_FOUND')) return true
      throw error
    },
  )
  if (!isFree) throw nameTaken(host, name)
}

function nameTaken({ driver, options }: Host, name: string): VMKitError {
  return new VMKitError('ALREADY_EXISTS', `The name ${name} is taken in the namespace ${options.namespace}`, {
    driver,
    field: 'config.name',
  })
}

function checkMounts({ mounts }: MachineConfig): void {
  for (const [index, { source }] of mounts.entries())
    if (!statSync(source, { throwIfNoEntry: false })) throw invalidConfig(`config.mounts.${index}.source`, 'a path of this host', source)
}

function writeHostFiles(
  folder: { hosts: string; hostname: string; resolvConf: string },
  hostname: string,
  options: { dns?: readonly string[]; dnsSearch?: readonly string[]; extraHosts?: readonly string[] },
  sharesHost: boolean,
): void {
  const mode = { mode: 0o644 }
  writeFileSync(folder.hostname, `${hostname}\n`, mode)
  writeFileSync(folder.hosts, hostsFile([{ address: '127.0.1.1', names: [hostname] }], options.extraHosts), mode)
  writeFileSync(folder.resolvConf, resolvConf(hostResolvConf(), options, sharesHost), mode)
}

/** Where systemd-resolved keeps the servers that it asks itself, and else the usual file. */
function hostResolvConf(): string {
  for (const path of ['/run/systemd/resolve/resolv.conf', '/etc/resolv.conf']) {
    try {
      return readFileSync(path, 'utf8')
    } catch {
      // the next one
    }
  }
  return ''
}

/** Places the files of the config, and reads the accounts. */
async function* fill(root: string, config: MachineConfig, image: ImageProcess, ctx: CallContext): AsyncGenerator<Accounts> {
  const base = workdirOf(config, image)
  for (const { path, content, mode } of config.files)
    await writeFileIn(
      root,
      posix.resolve('/', base, path),
      [typeof content === 'string' ? Buffer.from(content) : content],
      mode,
      ctx.signal,
    )
  yield await readAccounts(root)
}
