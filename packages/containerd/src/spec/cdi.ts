/**
 * Container Device Interface 0.3 to 0.8: which edits of a spec a device stands for. Pure; `cdi-files.ts` reads the files.
 * Format: github.com/cncf-tags/container-device-interface, SPEC.md.
 */
import { invalidConfig } from '@vmkit/core/driver'
import type { SpecHook, SpecHooks, SpecMount } from './types.js'

export interface CdiEdits {
  env?: string[]
  deviceNodes?: CdiDeviceNode[]
  mounts?: { hostPath: string; containerPath: string; type?: string; options?: string[] }[]
  hooks?: { hookName: string; path: string; args?: string[]; env?: string[]; timeout?: number }[]
  additionalGids?: number[]
}

export interface CdiDeviceNode {
  path: string
  hostPath?: string
  type?: string
  major?: number
  minor?: number
  fileMode?: number
  permissions?: string
  uid?: number
  gid?: number
}

export interface CdiFile {
  cdiVersion: string
  kind: string
  containerEdits?: CdiEdits
  devices: { name: string | number; containerEdits: CdiEdits }[]
}

export interface AppliedEdits {
  env: string[]
  nodes: CdiDeviceNode[]
  mounts: SpecMount[]
  hooks: SpecHooks
  additionalGids: number[]
}

const QUALIFIED = /^([A-Za-z0-9][A-Za-z0-9.-]*\/[A-Za-z0-9][A-Za-z0-9_.-]*)=([A-Za-z0-9][A-Za-z0-9_.:-]*)$/
const HOOK_NAMES = ['prestart', 'createRuntime', 'createContainer', 'startContainer', 'poststart', 'poststop'] as const

/** @throws VMKitError `INVALID_CONFIG` for a name that is none, or of a device that no file describes */
export function applyCdi(names: readonly { name: string; field: string }[], files: readonly CdiFile[]): AppliedEdits {
  const applied: AppliedEdits = { env: [], nodes: [], mounts: [], hooks: {}, additionalGids: [] }
  const seen = new Set<CdiEdits>()
  for (const { name, field } of names) {
    const match = QUALIFIED.exec(name)
    if (!match) throw invalidConfig(field, 'a CDI device such as `vendor.com/class=name`', name)
    // Later folders win: /var/run/cdi is what the system made for now.
    const file = [...files]
      .reverse()
      .find(({ kind, devices }) => kind === match[1] && devices.some((device) => String(device.name) === match[2]))
    const device = file?.devices.find((candidate) => String(candidate.name) === match[2])
    if (!file || !device) throw invalidConfig(field, `a CDI device of this host (${knownDevices(files)})`, name)
    // The edits for all devices of a file are made once.
    for (const edits of [file.containerEdits, device.containerEdits]) {
      if (!edits || seen.has(edits)) continue
      seen.add(edits)
      addEdits(applied, edits)
    }
  }
  return applied
}

function addEdits(applied: AppliedEdits, edits: CdiEdits): void {
  applied.env.push(...(edits.env ?? []))
  applied.nodes.push(...(edits.deviceNodes ?? []))
  applied.additionalGids.push(...(edits.additionalGids ?? []))
  for (const { hostPath, containerPath, type = 'bind', options = ['ro', 'rbind'] } of edits.mounts ?? [])
    applied.mounts.push({ destination: containerPath, type, source: hostPath, options })
  for (const { hookName, ...hook } of edits.hooks ?? []) {
    const name = HOOK_NAMES.find((known) => known === hookName)
    if (name) applied.hooks[name] = [...(applied.hooks[name] ?? []), hook satisfies SpecHook]
  }
}

function knownDevices(files: readonly CdiFile[]): string {
  const names = files.flatMap(({ kind, devices }) => devices.map(({ name }) => `${kind}=${name}`))
  return names.length === 0 ? 'there are none' : names.slice(0, 10).join(', ')
}
