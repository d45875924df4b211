import { stat } from 'node:fs/promises'
import { openArchive } from './archive.js'
import { badImage } from './errors.js'
import { openLayout } from './layout.js'
import { openRegistry } from './registry/open.js'
import type { RegistryOptions } from './registry/options.js'
import type { ImageSource, OpenOptions } from './source.js'

/**
 * Opens what a config's `image` may be: a path (it begins with `/`, `./` or `../`) of an OCI layout folder or of an archive, the
 * same behind `oci:`, `oci-archive:` or `docker-archive:`, with `:name` after it where there are several, or else a reference,
 * also behind `docker://`. Errors are those of `openLayout`, `openArchive` and `openRegistry`.
 */
export async function openImage(image: string, options: OpenOptions & RegistryOptions = {}): Promise<ImageSource> {
  const [, prefix, rest = ''] = /^(oci|oci-archive|docker-archive|docker):(.*)$/s.exec(image) ?? []
  if (prefix === 'docker' && rest.startsWith('//')) return openRegistry(rest.slice(2), options)
  if (prefix !== undefined && prefix !== 'docker') {
    const [, path = rest, reference] = /^([^:]+):(.+)$/s.exec(rest) ?? []
    const isWhole = await exists(rest)
    return openPath(isWhole ? rest : path, { ...options, reference: options.reference ?? (isWhole ? undefined : reference) })
  }
  return isImagePath(image) ? openPath(image, options) : openRegistry(image, options)
}

/** Whether an `image` is a path, not a reference: no reference begins like one. */
export function isImagePath(image: string): boolean {
  return /^\.{0,2}\//.test(image)
}

async function openPath(path: string, options: OpenOptions): Promise<ImageSource> {
  const found = await stat(path).catch(() => undefined)
  if (!found) throw badImage(`There is no image at ${path}`, options.errors)
  return found.isDirectory() ? openLayout(path, options) : openArchive(path, options)
}

const exists = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  )
