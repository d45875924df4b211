/** What apps use. What driver authors need beside this is in `@vmkit/core/driver`. */

/**
 * The drivers of a program, for the types. Each driver package adds itself:
 * `declare module '@vmkit/core' { interface DriverRegistry { docker: { options: …; capabilities: …; machineOptions: …; extras: … } } }`
 */
// biome-ignore lint/suspicious/noEmptyInterface: empty until driver packages augment it
export interface DriverRegistry {}

export {
  type AnyCapabilities,
  CAPABILITIES,
  CAPABILITY_TABLE,
  type Capability,
  type CapabilityManifest,
  isCapability,
} from './capabilities.js'
export { parseConfig } from './config/parse.js'
export type {
  CloudInitConfig,
  ConfigField,
  DeviceConfig,
  Duration,
  FileConfig,
  MachineConfig,
  MountConfig,
  NetworkConfig,
  PortConfig,
  PortProtocol,
  PullPolicy,
  RestartConfig,
  Size,
  VMConfig,
  VolumeMountConfig,
} from './config/types.js'
export type { BuildRequest, HostProbe, ListFilter, PullRequest, VMDriver } from './driver.js'
export { type ConfigIssue, ERROR_CODES, type ErrorCode, type ErrorEvidence, VMKitError, type VMKitErrorDetails } from './errors.js'
export type * from './machine.js'
export type { AnyDriverHandle, CreateOptions, DriverExtras, DriverHandle, GetOptions, ImagesApi, NamedApi } from './manager/driver-types.js'
export type { ManagerHooks } from './manager/hooks.js'
export { createManager, type ManagerOptions, type VMManager } from './manager/manager.js'
export { type CallOptions, type OperationInfo, operationChannel } from './manager/operation.js'
export type { DisposePolicy } from './manager/owner.js'
export type { SweptMachine } from './manager/sweep.js'
export type {
  CapabilityMethods,
  Endpoint,
  ExecOptions,
  ExecStreamOptions,
  MigrateOptions,
  MigrationResult,
  SnapshotOptions,
  Stdin,
  StopCallOptions,
  StreamOptions,
  VM,
  VMBase,
  VMFiles,
  WaitForOptions,
} from './manager/vm-types.js'
export { type DriverModule, findDriver, registerDriver, registeredDrivers } from './registry.js'
export { legalStates } from './states.js'
export { parseBytes, parseDuration } from './units.js'
