/** Images for the kit: one in the loopback registry of `scripts/backends`, and an archive. */
import { existsSync, mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { ConformanceOptions } from '@vmkit/conformance'
import { imageFromFolder, pushImage, writeArchive } from '@vmkit/oci'
import { backendEnv } from '../../../scripts/lib/backends.js'
import { resolveOptions } from '../src/options.js'

/** `undefined` where there is no registry. */
export function kitImages(root: string): ConformanceOptions['images'] {
  const host = backendEnv('VMKIT_REGISTRY')
  if (host === undefined) return undefined
  return {
    reference: `${host}/vmkit-test/kvm-kit:1`,
    missing: `${host}/vmkit-test/nothing:1`,
    async *archive() {
      await using image = await imageOf(root, 'vmkit-test/kvm-archived:1')
      yield* writeArchive(image)
    },
  }
}

const imageOf = (root: string, reference: string) => imageFromFolder(root, { reference, config: { Cmd: ['sh'] } })

export async function pushKitImage(root: string, reference: string): Promise<void> {
  await using image = await imageOf(root, reference)
  await pushImage(image, reference, { credentials: false })
}

/** A cache of its own, so that tests find and leave no images of the user; but not guest kernels, each of which takes 10 s to build. */
export function ownCache(folder: string): string {
  const guests = join(resolveOptions({}).cacheDir, 'guest')
  mkdirSync(guests, { recursive: true })
  mkdirSync(folder, { recursive: true })
  if (!existsSync(join(folder, 'guest'))) symlinkSync(guests, join(folder, 'guest'))
  return folder
}
