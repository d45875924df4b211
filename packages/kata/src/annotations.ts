/**
 * The annotations by which one sandbox differs from Kata's configuration file. With one that the host does not allow the Go shim
 * does not start the machine, and runtime-rs goes on without it: so it is refused here, before anything is made.
 */
import { invalidConfig, VMKitError } from '@vmkit/core/driver'
import { type Group, ONLY, OTHERS, PATH_LISTS, SETTINGS, VALUES } from './annotation-names.js'
import type { KataConfig } from './kata-config.js'
import type { ShimKind } from './shim.js'

const PREFIX = 'io.katacontainers.'

export const annotationName = (group: Group, key: string) => `${PREFIX}config.${group}.${key}`

export interface Asked {
  /** Whole name of the annotation. */
  name: string
  value: string
  /** The field of the config that asked for it. */
  field: string
}

/** What decides whether a sandbox may have an annotation. */
export interface Rules {
  config: KataConfig | undefined
  kind: ShimKind
}

/** @throws VMKitError `INVALID_CONFIG` for a name that Kata does not know, `UNSUPPORTED` for one that this host does not allow */
export function checkAnnotations(asked: readonly Asked[], rules: Rules): void {
  for (const each of asked) {
    const { name, field } = each
    if (!name.startsWith(PREFIX) || OTHERS.has(name)) continue
    const [, group = '', key = ''] = /^io\.katacontainers\.config\.(hypervisor|runtime|agent)\.(.+)$/.exec(name) ?? []
    if (!isKnown(group, key)) {
      throw invalidConfig(field, `an annotation that Kata knows and that belongs to one sandbox`, name, {
        driver: 'kata',
        operation: 'create',
      })
    }
    checkShim(`${group}.${key}`, each, rules.kind)
    if (group === 'hypervisor') checkHypervisorSetting(key, each, rules.config)
  }
}

function isKnown(group: string, key: string): boolean {
  return Object.hasOwn(SETTINGS, group) && (SETTINGS[group as Group] as readonly string[]).includes(key)
}

const refusal = (field: string, reason: string, hint?: string) =>
  new VMKitError('UNSUPPORTED', reason, { driver: 'kata', operation: 'create', field, hint })

const LANGUAGES = { go: "Kata's Go shim", rust: 'runtime-rs' } as const

function checkShim(setting: string, { value, field }: Asked, kind: ShimKind): void {
  if (kind === 'foreign') return
  const only = ONLY[setting]
  if (only !== undefined && only !== kind)
    throw refusal(field, `${LANGUAGES[only]} alone reads \`${setting}\`, and the shim here is ${LANGUAGES[kind]}`)
  const values = VALUES[setting]?.[kind]
  if (values !== undefined && !values.includes(value))
    throw refusal(field, `${LANGUAGES[kind]} takes for \`${setting}\` of one machine only ${values.join(', ')}`)
}

function checkHypervisorSetting(key: string, { value, field }: Asked, config: KataConfig | undefined): void {
  if (!config) {
    throw refusal(
      field,
      `Kata's configuration file was not found, so this host allows no hypervisor settings: Kata would not take \`${key}\``,
    )
  }
  if (!config.enableAnnotations.some((pattern) => matches(pattern, key))) {
    throw refusal(
      field,
      `This host does not allow the hypervisor setting \`${key}\` for one machine: Kata would not take it`,
      `Add ${JSON.stringify(key)} to \`enable_annotations\` in ${config.path}`,
    )
  }
  const list = PATH_LISTS[key]
  if (list !== undefined && !(config.validPaths[list] ?? []).some((glob) => globToRegExp(glob).test(value)))
    throw refusal(field, `This host does not allow this path for \`${key}\``, `Add it to \`${list}\` in ${config.path}`)
}

/** As Go's `regexp.MatchString`: anywhere in the name. */
function matches(pattern: string, key: string): boolean {
  try {
    return new RegExp(pattern).test(key)
  } catch {
    return false
  }
}

/** glob(3) without braces: `*` and `?` do not go over a slash. */
function globToRegExp(glob: string): RegExp {
  const source = glob
    .replace(/[.+^${}()|\\]/g, '\\$&')
    .replace(/\*/g, '[^/]*')
    .replace(/\?/g, '[^/]')
  try {
    return new RegExp(`^${source}$`)
  } catch {
    return /(?!)/
  }
}
