import { validate } from '@vmkit/core/driver'
import * as z from '@vmkit/core/schema'
import { DRIVER } from './errors.js'
import type { BootPlan, DiskSpec } from './qemu/machine-spec.js'

/** What a bundle says of how it boots: no path of it is believed. */
export interface Plan {
  format: 1
  kind: BootPlan['kind']
  kernel?: { cmdline: string; initrd: boolean }
  disks: Pick<DiskSpec, 'id' | 'format' | 'readOnly' | 'bus' | 'serial' | 'bootIndex'>[]
  process?: BootPlan['process']
  stopSignal?: string
}

const text = z.string().check(z.maxLength(65536))
const name = z.string().check(z.regex(/^[A-Za-z][A-Za-z0-9-]{0,19}$/))

const schema = z.strictObject({
  format: z.literal(1),
  kind: z.enum(['image', 'rootfs', 'disk', 'kernel', 'none']),
  kernel: z.optional(z.strictObject({ cmdline: text, initrd: z.boolean() })),
  disks: z.array(
    z.strictObject({
      id: name,
      format: z.enum(['qcow2', 'raw']),
      readOnly: z.optional(z.boolean()),
      bus: z.optional(z.enum(['virtio', 'cdrom'])),
      serial: z.optional(z.string().check(z.regex(/^[\w.-]{1,20}$/))),
      bootIndex: z.optional(z.number().check(z.refine((value) => Number.isSafeInteger(value) && value >= 0, 'a whole number'))),
    }),
  ),
  process: z.optional(z.strictObject({ env: z.array(text), user: text, workdir: text })),
  stopSignal: z.optional(text),
})

/** @throws VMKitError `INVALID_CONFIG` naming the field */
export function parsePlan(value: unknown): Plan {
  return validate(schema as unknown as z.ZodMiniType<Plan>, value, { root: 'bundle.kvm.json', driver: DRIVER, operation: 'importBundle' })
}
