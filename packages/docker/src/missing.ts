import type { MachineConfig, MachineRef, Missing } from '@vmkit/core/driver'

/** Why `clone.memory` is missing on every engine. */
export const NO_MEMORY_CLONE = 'the engine restores memory only into the container that it was saved from'

/** What a machine of this config lacks although the engine has it. */
export function missingOf({ driverOptions }: Pick<MachineConfig, 'driverOptions'>): Missing {
  const { init } = (driverOptions.docker ?? {}) as { init?: boolean }
  // Seen with CRIU 4.1 on Docker 20.10 and 26.1: the restore cannot find the file that the engine mounts as init.
  return init === true ? { 'snapshot.memory': 'CRIU saves a container with an init, and cannot restore it' } : {}
}

export function refOf(id: string, config: MachineConfig): MachineRef {
  return { id, missing: missingOf(config) }
}
