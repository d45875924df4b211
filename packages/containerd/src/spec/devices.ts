/** Device nodes of this host, as the OCI spec wants them. */
import { lstatSync } from 'node:fs'
import { realpath } from 'node:fs/promises'
import { type DeviceConfig, invalidConfig, VMKitError } from '@vmkit/core/driver'
import { type AppliedEdits, applyCdi, type CdiDeviceNode } from './cdi.js'
import { readCdiFiles } from './cdi-files.js'
import type { SpecDevice, SpecDeviceRule } from './types.js'

export interface HostDevices {
  devices: SpecDevice[]
  rules: SpecDeviceRule[]
  edits: AppliedEdits
}

const S_IFMT = 0o170000
const S_IFBLK = 0o060000
const S_IFCHR = 0o020000

/** Looks the devices of a config up on this host. @throws VMKitError `INVALID_CONFIG`, `UNSUPPORTED` naming the device */
export async function hostDevices(configs: readonly DeviceConfig[], driver: string): Promise<HostDevices> {
  const cdi: { name: string; field: string }[] = []
  const nodes: { node: CdiDeviceNode; field: string }[] = []
  for (const [index, device] of configs.entries()) {
    const field = `config.devices.${index}`
    switch (device.type) {
      case 'cdi':
        cdi.push({ name: device.name, field: `${field}.name` })
        break
      case 'gpu':
        cdi.push(...gpuNames(device, field))
        break
      case 'host':
        if (device.permissions !== undefined && !/^r?w?m?$/.test(device.permissions))
          throw invalidConfig(`${field}.permissions`, 'some of `r`, `w` and `m`, in this order', device.permissions)
        nodes.push({
          node: { path: device.guestPath ?? device.path, hostPath: device.path, permissions: device.permissions },
          field: `${field}.path`,
        })
        break
      default:
        throw new VMKitError(
          'UNSUPPORTED',
          `The ${driver} driver cannot honour \`${field}\`: containers take devices of type host, gpu and cdi, not ${device.type}`,
          {
            driver,
            operation: 'create',
            field,
          },
        )
    }
  }
  const edits = applyCdi(cdi, cdi.length === 0 ? [] : await readCdiFiles())
  nodes.push(...edits.nodes.map((node) => ({ node, field: 'config.devices' })))
  const found = await Promise.all(nodes.map(({ node, field }) => lookUp(node, field)))
  return { devices: found.map(({ device }) => device), rules: found.map(({ rule }) => rule), edits }
}

/** GPUs come by the CDI names that the vendors' tool writes. */
function gpuNames(device: Extract<DeviceConfig, { type: 'gpu' }>, field: string): { name: string; field: string }[] {
  const { count, ids, capabilities } = device
  if (count !== undefined && ids !== undefined) throw invalidConfig(`${field}.count`, '`count` or `ids`, not both', count)
  if (capabilities !== undefined && capabilities.length > 0)
    throw invalidConfig(`${field}.capabilities`, 'none: a CDI device brings what its file says', capabilities)
  const names = ids ?? (count === undefined || count === 'all' ? ['all'] : Array.from({ length: count }, (_, index) => String(index)))
  return names.map((name) => ({ name: `nvidia.com/gpu=${name}`, field }))
}

async function lookUp(node: CdiDeviceNode, field: string): Promise<{ device: SpecDevice; rule: SpecDeviceRule }> {
  const { path, hostPath = path, permissions = 'rwm', fileMode, uid, gid } = node
  const stat = lstatSync(await realpath(hostPath).catch(() => hostPath), { throwIfNoEntry: false })
  const kind = (stat?.mode ?? 0) & S_IFMT
  const type = kind === S_IFCHR ? 'c' : kind === S_IFBLK ? 'b' : undefined
  if (!stat || !type) throw invalidConfig(field, 'the path of a device node of this host', hostPath)
  const { major, minor } = numbersOf(stat.rdev)
  return {
    device: { path, type, major, minor, fileMode: fileMode ?? stat.mode & 0o777, uid: uid ?? stat.uid, gid: gid ?? stat.gid },
    rule: { allow: true, type, major, minor, access: permissions },
  }
}

/** Linux packs them as makedev(3) does: minor bits 0-7 and 20-31, major bits 8-19. */
function numbersOf(rdev: number): { major: number; minor: number } {
  return { major: (rdev >>> 8) & 0xfff, minor: (rdev & 0xff) | ((rdev >>> 12) & 0xfff00) }
}
