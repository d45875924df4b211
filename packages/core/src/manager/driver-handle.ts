import { type Capability, isCapability } from '../capabilities.js'
import { parseConfig, parseName } from '../config/parse.js'
import type { VMConfig } from '../config/types.js'
import type { BuildRequest, CallContext, DriverImages, HostProbe, ListFilter, MachineRef, PullRequest } from '../driver.js'
import { invalidConfig, VMKitError } from '../errors.js'
import type { ImageInfo, Missing, NetworkInfo, VMEvent, VMSummary, VolumeInfo } from '../machine.js'
import { type Backend, presentable } from './backend.js'
import type { CreateOptions, DriverHandle, GetOptions, ImagesApi, NamedApi } from './driver-types.js'
import { toChunks } from './exec.js'
import type { CallOptions } from './operation.js'
import { type DisposePolicy, ownerLabels } from './owner.js'
import { deleteLate, type HandleOwner } from './vm.js'
import type { Stdin, StreamOptions, VM } from './vm-types.js'

const POLICIES: readonly DisposePolicy[] = ['delete', 'stop', 'detach']

/** Hears of machines that live for a limited time. */
export interface ExpiryWatch {
  expire(vm: VM, ttl: number): void
}

/** The one implementation of every DriverHandle type. */
export class DriverHandleImpl {
  readonly #backend: Backend
  readonly #owner: HandleOwner & ExpiryWatch

  constructor(backend: Backend, owner: HandleOwner & ExpiryWatch) {
    this.#backend = backend
    this.#owner = owner
    targets.set(this, { backend, adopt: (ref, policy) => owner.adopt(backend, ref, policy) })
  }

  get name(): string {
    return this.#backend.driver.name
  }

  get isolation() {
    return this.#backend.driver.isolation
  }

  get durability() {
    return this.#backend.driver.durability
  }

  get capabilities() {
    return this.#backend.driver.capabilities
  }

  get missing(): Missing {
    return this.#backend.missing()
  }

  probe(options?: CallOptions & { refresh?: boolean }): Promise<HostProbe> {
    return this.#backend.probe(options)
  }

  supports(capability: Capability): boolean {
    if (!isCapability(capability)) throw invalidConfig('capability', 'a capability that core knows', capability)
    const claim = this.#backend.driver.capabilities[capability]
    if (!this.#backend.host) return claim === true
    return this.#backend.host.available && this.#backend.missingReason(capability) === undefined
  }

  async create(config: VMConfig, options: CreateOptions = {}): Promise<VM> {
    const parsed = parseConfig(config)
    const policy = checkPolicy(options.onDispose ?? 'delete')
    await this.#backend.requireAvailable(options)
    this.#backend.refuseFields(config)
    const owned = { ...parsed, labels: { ...parsed.labels, ...ownerLabels(policy, parsed.ttl) } }
    const ref = await this.#backend.call<MachineRef>(
      { operation: 'create', exclusive: true, onLateResult: (late) => deleteLate(this.#backend, late) },
      options,
      undefined,
      (ctx) => this.#backend.driver.create(owned, ctx),
    )
    const vm = this.#owner.adopt(this.#backend, { ...ref, name: parsed.name }, policy)
    this.#backend.emit({ type: 'created', driver: this.name, id: ref.id, name: parsed.name, at: Date.now() })
    if (parsed.ttl !== undefined) this.#owner.expire(vm, parsed.ttl)
    return vm
  }

  async get(idOrName: string, options: GetOptions = {}): Promise<VM> {
    if (typeof idOrName !== 'string' || idOrName === '') throw invalidConfig('idOrName', 'an id or a name', idOrName)
    const policy = checkPolicy(options.onDispose ?? 'detach')
    await this.#backend.requireAvailable(options)
    const info = await this.#backend.find(idOrName, options)
    return this.#owner.adopt(this.#backend, info, policy)
  }

  async list(filter: ListFilter = {}, options?: CallOptions): Promise<VMSummary[]> {
    return (await this.#backend.list(filter, options)).map(presentable)
  }

  events(options?: StreamOptions): AsyncIterableIterator<VMEvent> {
    return this.#backend.events(options?.signal)
  }

  get images(): ImagesApi {
    const run = <T>(
      operation: string,
      options: CallOptions | undefined,
      task: (images: DriverImages, ctx: CallContext) => Promise<T>,
    ): Promise<T> => this.#hostCall(operation, 'images', options, (ctx) => task(this.#backend.driver.images as DriverImages, ctx))
    return {
      pull: async (reference, options = {}) => {
        const { policy, platform, auth } = options
        const request: PullRequest = { reference: checkText(reference, 'reference'), policy, platform, auth }
        const image = await run('pull', options, (images, ctx) => images.pull(request, ctx))
        this.#backend.emit({ type: 'image-pulled', driver: this.name, image: image.reference, at: Date.now() })
        return image
      },
      list: (options) => run('listImages', options, (images, ctx) => images.list(ctx)),
      remove: (reference, options) =>
        run('removeImage', options, async (images, ctx) => images.remove(checkText(reference, 'reference'), ctx)),
      import: (archive, options = {}) => run('import', options, (images, ctx) => images.import(toChunks(archive), options.reference, ctx)),
    }
  }

  build(request: BuildRequest, options?: CallOptions): Promise<ImageInfo> {
    return this.#hostCall('build', 'build', options, (ctx) => {
      const { images } = this.#backend.driver
      if (!images?.build) throw new VMKitError('BACKEND_ERROR', `The ${this.name} driver claims build and has no method for it`)
      return images.build(request, ctx)
    })
  }

  get volumes(): NamedApi<VolumeInfo> {
    return this.#named('volumes', () => this.#backend.driver.volumes)
  }

  get networks(): NamedApi<NetworkInfo> {
    return this.#named('networks', () => this.#backend.driver.networks)
  }

  async importBundle(bundle: Exclude<Stdin, string>, options: { name?: string } & CreateOptions = {}): Promise<VM> {
    const policy = checkPolicy(options.onDispose ?? 'delete')
    const name = options.name === undefined ? undefined : parseName(options.name, 'options.name')
    const { importBundle } = this.#backend.driver
    const ref = await this.#hostCall('importBundle', 'bundle', options, async (ctx) => {
      if (!importBundle) throw new VMKitError('BACKEND_ERROR', `The ${this.name} driver claims bundle and has no method for it`)
      return importBundle.call(this.#backend.driver, toChunks(bundle), { name, labels: ownerLabels(policy, undefined) }, ctx)
    })
    const info = await this.#backend.find(ref.id, options)
    return this.#owner.adopt(this.#backend, info, policy)
  }

  /** Volumes and networks are both made by name; a driver's group of methods exists when the capability does. */
  #named<T>(kind: 'volumes' | 'networks', group: () => NamedGroup<T> | undefined): NamedApi<T> {
    const use = <R>(
      operation: string,
      options: CallOptions | undefined,
      task: (methods: NamedGroup<T>, ctx: CallContext) => Promise<R>,
    ): Promise<R> => this.#hostCall(`${operation} ${kind}`, kind, options, async (ctx) => task(group() as NamedGroup<T>, ctx))
    return {
      create: (name, options = {}) =>
        use('create', options, (methods, ctx) => methods.create(parseName(name, 'name'), options.labels ?? {}, ctx)),
      list: (options) => use('list', options, (methods, ctx) => methods.list(ctx)),
      remove: (name, options) => use('remove', options, (methods, ctx) => methods.remove(parseName(name, 'name'), ctx)),
    }
  }

  /** An operation that belongs to no machine. */
  async #hostCall<T>(
    operation: string,
    needs: Capability,
    options: CallOptions | undefined,
    run: (ctx: CallContext) => Promise<T>,
  ): Promise<T> {
    await this.#backend.requireAvailable(options)
    return this.#backend.call<T>({ operation, needs }, options, undefined, run)
  }
}

interface NamedGroup<T> {
  create(name: string, labels: Record<string, string>, ctx: CallContext): Promise<T>
  list(ctx: CallContext): Promise<T[]>
  remove(name: string, ctx: CallContext): Promise<void>
}

interface Target {
  backend: Backend
  adopt(ref: MachineRef & { name: string }, policy: DisposePolicy): VM
}

const targets = new WeakMap<object, Target>()

/** What stands behind a handle; migration needs the target's driver, which the public type does not show. */
export function targetOf(handle: DriverHandle): Target {
  const target = targets.get(handle)
  if (!target) throw invalidConfig('target', 'a driver handle, from manager.driver()', handle)
  return target
}

function checkPolicy(policy: unknown): DisposePolicy {
  if (!POLICIES.includes(policy as DisposePolicy)) throw invalidConfig('options.onDispose', "'delete', 'stop' or 'detach'", policy)
  return policy as DisposePolicy
}

function checkText(value: unknown, field: string): string {
  if (typeof value !== 'string' || value === '' || value.startsWith('-'))
    throw invalidConfig(field, "a text that is not empty and does not start with '-'", value)
  return value
}
