import type { Capability } from '../capabilities.js'
import { parseGiven } from '../config/parse.js'
import type { VMConfig } from '../config/types.js'
import type { BuildRequest, CallContext, DriverImages, HostProbe, ListFilter, MachineRef } from '../driver.js'
import { invalidConfig, VMKitError } from '../errors.js'
import type { ImageInfo, Missing, NetworkInfo, VMEvent, VMInfo, VMSummary, VolumeInfo } from '../machine.js'
import type { Backend, CallSpec } from './backend.js'
import type { AnyDriverHandle, CreateOptions, DriverExtras, GetOptions, ImageExport, ImagesApi, NamedApi } from './driver-types.js'
import type { HandleOwner } from './handle-owner.js'
import { toChunks } from './input.js'
import { bound } from './machine-calls.js'
import type { CallOptions } from './operation.js'
import { ownerLabels } from './owner.js'
import { ARGUMENTS, OPTIONS, readArgument, readCapability, readOptions } from './requests.js'
import type { Stdin, StreamOptions, VM } from './vm-types.js'

/** The one implementation of every DriverHandle type. */
export class DriverHandleImpl {
  readonly #backend: Backend
  readonly #owner: HandleOwner

  constructor(backend: Backend, owner: HandleOwner) {
    this.#backend = backend
    this.#owner = owner
    targets.set(this, { backend, owner })
  }

  get name(): string {
    return this.#backend.name
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
    return this.#backend.host.missing()
  }

  async probe(options?: CallOptions & { refresh?: boolean }): Promise<HostProbe> {
    return this.#backend.host.probe(readOptions(OPTIONS.probe, options))
  }

  supports(capability: Capability): boolean {
    const known = readCapability(capability)
    const { host, driver } = this.#backend
    if (!host.known) return driver.capabilities[known] === true
    return host.known.available && host.missingReason(known) === undefined
  }

  async create(config: VMConfig, options?: CreateOptions): Promise<VM> {
    const { given, parsed } = parseGiven(config)
    const { onDispose = 'delete', ...call } = readOptions(OPTIONS.dispose, options)
    await this.#backend.host.requireAvailable(call)
    this.#backend.host.refuseFields(given, parsed)
    const owned = { ...parsed, labels: { ...parsed.labels, ...ownerLabels(onDispose, parsed.ttl) } }
    const ref = await this.#backend.call<MachineRef>(
      { operation: 'create', exclusive: true, onLateResult: (late) => this.#backend.deleteLate(late) },
      call,
      (ctx) => this.#backend.driver.create(owned, ctx),
    )
    const vm = this.#owner.adopt(this.#backend, { ...ref, name: parsed.name, config: parsed }, onDispose)
    this.#backend.events.emit({ type: 'created', driver: this.name, id: ref.id, name: parsed.name, at: Date.now() })
    if (parsed.ttl !== undefined) this.#owner.expire(vm, parsed.ttl)
    return vm
  }

  async get(idOrName: string, options?: GetOptions): Promise<VM> {
    const key = readArgument(ARGUMENTS.id, idOrName, 'idOrName')
    const { onDispose = 'detach', ...call } = readOptions(OPTIONS.dispose, options)
    await this.#backend.host.requireAvailable(call)
    return this.#owner.adopt(this.#backend, await this.#backend.find(key, call), onDispose)
  }

  async list(filter?: ListFilter, options?: CallOptions): Promise<VMSummary[]> {
    const wanted = filter === undefined ? {} : readArgument(ARGUMENTS.filter, filter, 'filter')
    const summaries = await this.#backend.list(wanted, readOptions(OPTIONS.call, options))
    return summaries.map((found) => {
      // A driver may list all that it knows; what a summary does not name, such as env, must not come along.
      const { id, name, driver, state, labels, createdAt } = this.#backend.present(found)
      return { id, name, driver, state, labels, createdAt }
    })
  }

  events(options?: StreamOptions): AsyncIterableIterator<VMEvent> {
    return this.#backend.readEvents(readOptions(OPTIONS.stream, options).signal)
  }

  get images(): ImagesApi & ImageExport {
    const run = <T>(operation: string, options: CallOptions, task: (images: DriverImages, ctx: CallContext) => Promise<T>): Promise<T> =>
      this.#hostCall({ operation, needs: 'images' }, options, (ctx) => task(this.#backend.driver.images as DriverImages, ctx))
    const checked = (reference: string): string => readArgument(ARGUMENTS.reference, reference, 'reference')
    return {
      pull: async (reference, options) => {
        const { policy, platform, auth, ...call } = readOptions(OPTIONS.pull, options)
        const request = { reference: checked(reference), policy, platform, auth }
        const image = await run('pull', call, (images, ctx) => images.pull(request, ctx))
        this.#backend.events.emit({ type: 'image-pulled', driver: this.name, image: image.reference, at: Date.now() })
        return image
      },
      list: async (options) => run('listImages', readOptions(OPTIONS.call, options), (images, ctx) => images.list(ctx)),
      remove: async (reference, options) => {
        const image = checked(reference)
        return run('removeImage', readOptions(OPTIONS.call, options), (images, ctx) => images.remove(image, ctx))
      },
      import: async (archive, options) => {
        const input = readArgument(ARGUMENTS.bytesInput, archive, 'archive')
        const { reference, ...call } = readOptions(OPTIONS.import, options)
        return run('import', call, (images, ctx) => images.import(toChunks(input, 'archive'), reference, ctx))
      },
      export: (reference, options) => {
        const image = checked(reference)
        const { signal } = readOptions(OPTIONS.stream, options)
        return this.#backend.stream({ operation: 'exportImage' }, signal, (ctx) => this.#exported(image, ctx))
      },
    }
  }

  async *#exported(reference: string, ctx: CallContext): AsyncGenerator<Uint8Array> {
    const { host, driver } = this.#backend
    await host.requireAvailable({ signal: ctx.signal })
    host.require('images.export', { operation: 'exportImage' })
    yield* bound(driver.images?.export, driver.images ?? driver, 'images.export')(reference, ctx)
  }

  async build(request: BuildRequest, options?: CallOptions): Promise<ImageInfo> {
    const wanted = readArgument(ARGUMENTS.build, request, 'request')
    return this.#hostCall({ operation: 'build', needs: 'build' }, readOptions(OPTIONS.call, options), async (ctx) => {
      const { images } = this.#backend.driver
      if (!images?.build) throw new VMKitError('BACKEND_ERROR', `The ${this.name} driver claims build and has no method for it`)
      return images.build(wanted, ctx)
    })
  }

  get volumes(): NamedApi<VolumeInfo> {
    return this.#named('volumes', () => this.#backend.driver.volumes)
  }

  get networks(): NamedApi<NetworkInfo> {
    return this.#named('networks', () => this.#backend.driver.networks)
  }

  async importBundle(bundle: Exclude<Stdin, string>, options?: { name?: string } & CreateOptions): Promise<VM> {
    const input = readArgument(ARGUMENTS.bytesInput, bundle, 'bundle')
    const { name, onDispose = 'delete', ...call } = readOptions(OPTIONS.named, options)
    const labels = ownerLabels(onDispose, undefined)
    const { driver } = this.#backend
    const spec: CallSpec<VMInfo> = {
      operation: 'importBundle',
      needs: 'bundle',
      exclusive: true,
      onLateResult: (late) => this.#backend.deleteLate(late),
    }
    const info = await this.#hostCall(spec, call, async (ctx) => {
      if (!driver.importBundle) throw new VMKitError('BACKEND_ERROR', `The ${this.name} driver claims bundle and has no method for it`)
      const ref = await driver.importBundle(toChunks(input, 'bundle'), { name, labels }, ctx)
      try {
        return await driver.getInfo(ref.id, ctx)
      } catch (error) {
        this.#backend.deleteLate(ref)
        throw error
      }
    })
    this.#backend.events.emit({ type: 'created', driver: this.name, id: info.id, name: info.name, at: Date.now() })
    return this.#owner.adopt(this.#backend, info, onDispose)
  }

  get extras(): DriverExtras<Record<string, ExtraMethod>> {
    const extras = (this.#backend.driver.extras ?? {}) as Record<string, ExtraMethod>
    const entries = Object.entries(extras).map(([operation, method]) => {
      const call = async (idOrName: string, options?: CallOptions): Promise<unknown> => {
        const key = readArgument(ARGUMENTS.id, idOrName, 'idOrName')
        return this.#hostCall({ operation }, readOptions(OPTIONS.call, options), (ctx) => method.call(extras, key, ctx))
      }
      return [operation, call] as const
    })
    return Object.fromEntries(entries)
  }

  /** Volumes and networks are both made by name; a driver's group of methods exists when the capability does. */
  #named<T>(kind: 'volumes' | 'networks', group: () => NamedGroup<T> | undefined): NamedApi<T> {
    const use = <R>(operation: string, options: CallOptions, task: (methods: NamedGroup<T>, ctx: CallContext) => Promise<R>): Promise<R> =>
      this.#hostCall({ operation: `${operation} ${kind}`, needs: kind }, options, (ctx) => task(group() as NamedGroup<T>, ctx))
    const checked = (name: string): string => readArgument(ARGUMENTS.name, name, 'name')
    return {
      create: async (name, options) => {
        const wanted = checked(name)
        const { labels = {}, ...call } = readOptions(OPTIONS.labelled, options)
        return use('create', call, (methods, ctx) => methods.create(wanted, labels, ctx))
      },
      list: async (options) => use('list', readOptions(OPTIONS.call, options), (methods, ctx) => methods.list(ctx)),
      remove: async (name, options) => {
        const wanted = checked(name)
        return use('remove', readOptions(OPTIONS.call, options), (methods, ctx) => methods.remove(wanted, ctx))
      },
    }
  }

  /** An operation that belongs to no machine. */
  async #hostCall<T>(spec: CallSpec<T>, options: CallOptions, run: (ctx: CallContext) => Promise<T>): Promise<T> {
    await this.#backend.host.requireAvailable(options)
    return this.#backend.call<T>(spec, options, run)
  }
}

type ExtraMethod = (idOrName: string, ctx: CallContext) => Promise<unknown>

interface NamedGroup<T> {
  create(name: string, labels: Record<string, string>, ctx: CallContext): Promise<T>
  list(ctx: CallContext): Promise<T[]>
  remove(name: string, ctx: CallContext): Promise<void>
}

interface Target {
  backend: Backend
  owner: HandleOwner
}

const targets = new WeakMap<object, Target>()

/** What stands behind a handle; migration needs the target's driver, which the public type does not show. */
export function targetOf(handle: AnyDriverHandle): Target {
  const target = targets.get(handle)
  if (!target) throw invalidConfig('target', 'a driver handle, from manager.driver()', handle)
  return target
}
