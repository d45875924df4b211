/** What apps see of a driver: its host, its machines, and the things that belong to no machine. */
import type { AnyCapabilities, Capability, CapabilityManifest } from '../capabilities.js'
import type { VMConfig } from '../config/types.js'
import type { BuildRequest, HostProbe, ListFilter, PullRequest } from '../driver.js'
import type { ImageInfo, Missing, NetworkInfo, VMEvent, VMSummary, VolumeInfo } from '../machine.js'
import type { CallOptions } from './operation.js'
import type { DisposePolicy } from './owner.js'
import type { Keys, Narrowing, Stdin, StreamOptions, VM } from './vm-types.js'

export interface CreateOptions extends CallOptions {
  /** What disposing of the handle, or closing the manager, does to the machine. Default `delete`. */
  onDispose?: DisposePolicy
}

export interface GetOptions extends CallOptions {
  /** Default `detach`: a machine that was only looked up stays as it is. */
  onDispose?: DisposePolicy
}

export interface ImagesApi {
  /** @throws VMKitError `IMAGE_NOT_FOUND`, `PERMISSION_DENIED` */
  pull(reference: string, options?: Omit<PullRequest, 'reference'> & CallOptions): Promise<ImageInfo>
  list(options?: CallOptions): Promise<ImageInfo[]>
  remove(reference: string, options?: CallOptions): Promise<void>
  import(archive: Exclude<Stdin, string>, options?: { reference?: string } & CallOptions): Promise<ImageInfo>
}

export interface ImageExport {
  /** A tar for `import` of any driver that takes images, and for `docker load`. @throws VMKitError `IMAGE_NOT_FOUND` */
  export(reference: string, options?: StreamOptions): AsyncIterableIterator<Uint8Array>
}

export interface NamedApi<T> {
  create(name: string, options?: { labels?: Record<string, string> } & CallOptions): Promise<T>
  list(options?: CallOptions): Promise<T[]>
  remove(name: string, options?: CallOptions): Promise<void>
}

/** The members of a driver handle that come with each capability. */
export interface DriverCapabilityMembers {
  images: { readonly images: ImagesApi }
  'images.export': { readonly images: ImageExport }
  build: { build(request: BuildRequest, options?: CallOptions): Promise<ImageInfo> }
  volumes: { readonly volumes: NamedApi<VolumeInfo> }
  networks: { readonly networks: NamedApi<NetworkInfo> }
  bundle: {
    importBundle(bundle: Exclude<Stdin, string>, options?: { name?: string } & CreateOptions): Promise<VM>
  }
}

type Members<K> = K extends keyof DriverCapabilityMembers ? DriverCapabilityMembers[K] : unknown
// Over the names and not over their members: a union that has `unknown` in it would be `unknown` as a whole.
type MembersOf<K> = (K extends unknown ? (value: Members<K>) => void : never) extends (value: infer I) => void ? I : never
type AllMembers<K> = [K] extends [never] ? unknown : MembersOf<K>

export interface DriverHandleBase<C extends CapabilityManifest = AnyCapabilities> {
  readonly name: string
  readonly isolation: 'none' | 'process' | 'container' | 'sandbox' | 'vm'
  readonly durability: 'host' | 'app'
  readonly capabilities: C
  /** What this host allows. Asked once; `refresh` asks again. */
  probe(options?: CallOptions & { refresh?: boolean }): Promise<HostProbe>
  /** Every capability that is missing here, with its reason: of the last probe, so call `probe` first. */
  readonly missing: Missing
  /** Whether this host has a capability; narrows the handle. Before the first `probe`, `'probe'` capabilities are false. */
  supports<K extends Narrowing<Keys<C, 'probe'>, DriverCapabilityMembers>>(capability: K): this is this & Members<K>
  supports(capability: Keys<C, true> | Keys<C, 'probe'>): boolean
  supports(capability: Exclude<Capability, keyof C>): false

  create(config: VMConfig, options?: CreateOptions): Promise<VM<C>>
  /** The machine of this id or name. @throws VMKitError `NOT_FOUND` */
  get(idOrName: string, options?: GetOptions): Promise<VM<C>>
  list(filter?: ListFilter, options?: CallOptions): Promise<VMSummary[]>
  /** What happens from the first pull on; where the manifest says `'probe'` for `events`, from the end of the first probe on. */
  events(options?: StreamOptions): AsyncIterableIterator<VMEvent>
}

/** The methods that only this driver has, as apps call them. */
export type DriverExtras<E> = {
  readonly [N in keyof E]: E[N] extends (idOrName: string, ctx: never) => infer R ? (idOrName: string, options?: CallOptions) => R : never
}

/** What the handles of all drivers have in common, whatever is known of their capabilities. */
export type AnyDriverHandle = Pick<
  DriverHandleBase<CapabilityManifest>,
  'name' | 'isolation' | 'durability' | 'capabilities' | 'missing' | 'probe' | 'list'
>

export type DriverHandle<C extends CapabilityManifest = AnyCapabilities> = DriverHandleBase<C> & AllMembers<Keys<C, true>>
