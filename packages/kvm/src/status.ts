import type { VMInfo, VMSummary } from '@vmkit/core/driver'
import { DRIVER } from './errors.js'
import { missingOf } from './missing.js'
import { type RunStatus, statusOf } from './state/run.js'
import type { Machine } from './state/store.js'

export function summaryOf(machine: Machine, { state }: Pick<RunStatus, 'state'> = statusOf(machine.folder)): VMSummary {
  const { id, name, createdAt, config } = machine
  return { id, name, driver: DRIVER, state, labels: config.labels, createdAt }
}

export function infoOf(machine: Machine): VMInfo {
  const { run, ...status } = statusOf(machine.folder)
  const missing = missingOf(machine)
  const isLive = status.state === 'running' || status.state === 'paused' || status.state === 'stopping'
  return {
    ...summaryOf(machine, status),
    ...status,
    config: machine.config,
    // The user-mode network is reached by its published ports only.
    addresses: [],
    ports: isLive && run ? run.ports : machine.config.ports,
    startedAt: run && status.state !== 'created' ? run.startedAt : null,
    pid: isLive ? (run?.qemu?.pid ?? null) : null,
    ...(missing ? { missing } : {}),
    details: {
      folder: machine.folder.path,
      uuid: machine.uuid,
      macs: machine.macs,
      boot: machine.boot.kind,
      ...(run ? { accel: run.accel, ...run.details } : {}),
    },
  }
}
