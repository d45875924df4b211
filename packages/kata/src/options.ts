import type { ContainerdOptions } from '@vmkit/containerd/driver'
import { lazily, validate } from '@vmkit/core/driver'
import * as z from '@vmkit/core/schema'
import { runtimeName } from './runtime-name.js'

/** How the driver reaches containerd, and which Kata runs. The others are those of `@vmkit/containerd`. */
export interface KataOptions extends Omit<ContainerdOptions, 'runtime'> {
  /**
   * `kata`, `kata-qemu`, `kata-clh`, `kata-fc`, `kata-dragonball`, a whole name such as `io.containerd.kata.v2`, or the absolute
   * path of a shim. Default `kata`.
   */
  runtime?: string
  /** Configuration file of Kata, told to the shim. Default: the one that the shim finds. */
  configPath?: string
  /**
   * Take a shim that is not Kata's, for tests on hosts without Kata. Its machines are containers, without a VM around them; the
   * probe says so. Default false: such a shim is refused.
   */
  allowStandIn?: boolean
}

export interface OwnOptions {
  /** Whole name, or path. */
  runtime: string
  configPath?: string
  allowStandIn: boolean
}

const schema = lazily(() =>
  z.object({
    runtime: z.optional(
      z
        .string()
        .check(
          z.regex(
            /^(?:kata(?:-[\w-]+)?|io\.containerd\.[\w-]+\.v\d+|\/[^\0]+)$/,
            '`kata`, `kata-qemu`, `kata-clh`, `kata-fc`, `kata-dragonball`, a name such as io.containerd.kata.v2, or the absolute path of a shim',
          ),
        ),
    ),
    configPath: z.optional(z.string().check(z.regex(/^\/[^\0]+$/, 'an absolute path'))),
    allowStandIn: z.optional(z.boolean()),
  }),
)

/** Kata's own options, and the rest, which `@vmkit/containerd` checks. @throws VMKitError `INVALID_CONFIG` naming the option */
export function splitOptions(options: KataOptions = {}): { own: OwnOptions; rest: ContainerdOptions } {
  const { runtime, configPath, allowStandIn, ...rest } = options
  const given = validate(
    schema() as unknown as z.ZodMiniType<Partial<OwnOptions>>,
    { runtime, configPath, allowStandIn },
    { root: 'options', driver: 'kata' },
  )
  return {
    own: { runtime: runtimeName(given.runtime ?? 'kata'), configPath: given.configPath, allowStandIn: given.allowStandIn ?? false },
    rest,
  }
}

/** `runtimeoptions.v1.Options { config_path = 2 }` of containerd, the message that every shim of Kata takes. */
export function runtimeOptions(configPath: string): { typeUrl: string; value: Uint8Array } {
  const path = Buffer.from(configPath)
  const length: number[] = []
  let rest = path.length
  for (; rest >= 0x80; rest >>>= 7) length.push((rest & 0x7f) | 0x80)
  length.push(rest)
  return { typeUrl: 'runtimeoptions.v1.Options', value: Buffer.concat([Buffer.from([(2 << 3) | 2, ...length]), path]) }
}
