/** The documents of an image, as the OCI image specification 1.1 and Docker's "image manifest, schema 2" define them. */

export const MEDIA_TYPES = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
  layerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  layerZstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  dockerList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  dockerLayer: 'application/vnd.docker.image.rootfs.diff.tar',
  dockerLayerGzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
} as const

/** `ref.name` is the OCI annotation; the second one is containerd's, with the whole name, which Docker writes too. */
export const ANNOTATIONS = {
  refName: 'org.opencontainers.image.ref.name',
  containerdName: 'io.containerd.image.name',
} as const

/** Names content by its digest. `size` is in bytes. */
export interface Descriptor {
  mediaType: string
  /** Such as `sha256:…`, in lower case. */
  digest: string
  size: number
  platform?: Platform
  annotations?: Record<string, string>
  artifactType?: string
}

export interface Platform {
  /** Go's name, such as `linux`. */
  os: string
  /** Go's name, such as `amd64`, `arm64`. */
  architecture: string
  /** Such as `v8` of `arm64`. */
  variant?: string
}

export interface Manifest {
  schemaVersion: 2
  mediaType?: string
  config: Descriptor
  /** The lowest first. */
  layers: Descriptor[]
  annotations?: Record<string, string>
}

export interface ImageIndex {
  schemaVersion: 2
  mediaType?: string
  manifests: Descriptor[]
  annotations?: Record<string, string>
}

export interface ImageConfig {
  os: string
  architecture: string
  variant?: string
  created?: string
  author?: string
  config?: ContainerConfig
  /** `diff_ids`: the digests of the uncompressed layers, the lowest first. */
  rootfs: { type: 'layers'; diff_ids: string[] }
  history?: { created?: string; created_by?: string; comment?: string; empty_layer?: boolean }[]
}

/** What a container of the image runs. */
export interface ContainerConfig {
  User?: string
  Env?: string[]
  Entrypoint?: string[]
  Cmd?: string[]
  WorkingDir?: string
  StopSignal?: string
  Labels?: Record<string, string>
  ExposedPorts?: Record<string, object>
  Volumes?: Record<string, object>
  /** Docker's own; not in the OCI specification. */
  Healthcheck?: object
}
