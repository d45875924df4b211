/** What keeps parts of an image as long as the image: labels on content, read by containerd's garbage collector (`docs/garbage-collection.md`). */
import type { Descriptor, ImageConfig, ImageDocument, ImageIndex, Manifest } from '@vmkit/oci'
import { chainIds } from './chain.js'

/** Labels of a document by what it refers to: an index to its manifest, a manifest to its config and layers. */
export function documentLabels(document: ImageDocument, next: Descriptor | undefined, manifest: Manifest): Record<string, string> {
  const { digest } = document.descriptor
  if (digest === manifest.config.digest) return {}
  if (next === undefined) return {}
  if (next.digest !== manifest.config.digest) {
    // By its place, as containerd's own pull numbers them: another platform of the same index keeps its label.
    const { manifests = [] } = JSON.parse(Buffer.from(document.bytes).toString('utf8')) as Partial<ImageIndex>
    return { [`containerd.io/gc.ref.content.m.${manifests.findIndex((each) => each.digest === next.digest)}`]: next.digest }
  }
  const layers = manifest.layers.map((layer, index) => [`containerd.io/gc.ref.content.l.${index}`, layer.digest])
  return { 'containerd.io/gc.ref.content.config': manifest.config.digest, ...Object.fromEntries(layers) }
}

/** On the config: the snapshot of the top layer, of which the lower ones are parents. */
export function snapshotLabel(config: ImageConfig, snapshotter: string): Record<string, string> {
  const top = chainIds(config.rootfs.diff_ids).at(-1)
  return top === undefined ? {} : { [`containerd.io/gc.ref.snapshot.${snapshotter}`]: top }
}

/** On a layer: its digest when uncompressed, and where it came from, as containerd's own pull writes them. */
export function layerLabels(
  diffId: string | undefined,
  reference: { registry: string; repository: string } | undefined,
): Record<string, string> {
  return {
    ...(diffId === undefined ? {} : { 'containerd.io/uncompressed': diffId }),
    ...(reference === undefined
      ? {}
      : { [`containerd.io/distribution.source.${reference.registry.replace(/:\d+$/, '')}`]: reference.repository }),
  }
}

const BASE = 'containerd.io/gc.ref.content.vmkit-base'

/** On a container that stands on content that no image names: when it goes, that is garbage. */
const UNNAMED = 'io.vmkit.base'

/** On a container: the manifest of what it stands on, which lives as long as it does, whatever becomes of the image's name. */
export function baseLabels(manifest: string, isNamed: boolean): Record<string, string> {
  return { [BASE]: manifest, [UNNAMED]: isNamed ? 'named' : 'unnamed' }
}

/** Digest of the manifest that a container stands on. */
export function baseOf(labels: Readonly<Record<string, string>>): string | undefined {
  return labels[BASE]
}

export function leavesGarbage(labels: Readonly<Record<string, string>>): boolean {
  return labels[UNNAMED] === 'unnamed'
}
