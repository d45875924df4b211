import { CAPABILITIES, CAPABILITY_TABLE, type Capability, type ConfigField } from '@vmkit/core'

export type { Capability, ConfigField, VMConfig } from '@vmkit/core'

/** The capability that brings this config field, if one does. */
export function capabilityOfField(field: ConfigField): Capability | undefined {
  return CAPABILITIES.find((capability) => CAPABILITY_TABLE[capability].fields.includes(field))
}
