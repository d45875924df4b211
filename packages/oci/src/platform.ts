import { invalidConfig } from '@vmkit/core/driver'
import type { ErrorContext } from './source.js'
import type { Descriptor, Platform } from './types.js'

/** `process.arch` → Go's names, which images use (https://go.dev/doc/install/source#environment). */
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le', loong64: 'loong64' }
const ALIASES: Readonly<Record<string, string>> = {
  x86_64: 'amd64',
  'x86-64': 'amd64',
  aarch64: 'arm64',
  i386: '386',
  armhf: 'arm',
  armel: 'arm',
}

/** What containers and guests of this host run: Linux, also where the host is not. */
export function hostPlatform(arch: string = process.arch): Platform {
  const architecture = ARCHITECTURES[arch] ?? arch
  return { os: 'linux', architecture, ...(architecture === 'arm' ? { variant: 'v7' } : {}) }
}

/** `linux/arm64/v8`, or an architecture alone. @throws `INVALID_CONFIG` */
export function parsePlatform(text: string, { field = 'platform', ...context }: ErrorContext = {}): Platform {
  const parts = text.toLowerCase().split('/')
  if (parts.length > 3 || parts.some((part) => !/^[\w.-]+$/.test(part))) {
    throw invalidConfig(field, 'os/architecture[/variant], such as `linux/arm64`', text, context)
  }
  const [os = '', named = '', variant] = parts.length === 1 ? ['linux', ...parts] : parts
  return { os, architecture: ALIASES[named] ?? named, ...(variant === undefined ? {} : { variant }) }
}

export function formatPlatform({ os, architecture, variant }: Platform): string {
  return [os, architecture, ...(variant ? [variant] : [])].join('/')
}

/**
 * How well an image of `offered` runs on `wanted`: 0 best, larger worse, `undefined` not at all. Variants as containerd's
 * `platforms` package orders them: an older variant runs on a newer processor, never the other way round.
 */
function platformDistance(wanted: Platform, offered: Platform): number | undefined {
  if (wanted.os !== offered.os || wanted.architecture !== offered.architecture) return undefined
  const distance = level(wanted) - level(offered)
  return distance < 0 ? undefined : distance
}

const DEFAULT_LEVEL: Readonly<Record<string, number>> = { arm64: 8, arm: 7 }

function level({ architecture, variant }: Platform): number {
  return variant === undefined || variant === '' ? (DEFAULT_LEVEL[architecture] ?? 1) : Number(/^v(\d+)/.exec(variant)?.[1] ?? 1)
}

/** The manifest of an index that runs on `wanted`; one that names no platform is taken when nothing else is there. */
export function choosePlatform(manifests: readonly Descriptor[], wanted: Platform): Descriptor | undefined {
  const fits = manifests.flatMap((descriptor) => {
    const distance = descriptor.platform && platformDistance(wanted, descriptor.platform)
    return distance === undefined ? [] : [{ descriptor, distance }]
  })
  fits.sort((a, b) => a.distance - b.distance)
  return fits[0]?.descriptor ?? manifests.find(({ platform, annotations }) => !platform && !isAttestation(annotations))
}

/** BuildKit keeps provenance beside the images, as manifests for the platform `unknown/unknown`. */
function isAttestation(annotations: Record<string, string> | undefined): boolean {
  return annotations?.['vnd.docker.reference.type'] !== undefined
}
