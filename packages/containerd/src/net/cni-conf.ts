/** Lists of network plugins, as files of this host hold them (CNI specification 1.0, section 1). */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { VMKitError } from '@vmkit/core/driver'

export interface PluginConf {
  type: string
  capabilities?: Record<string, boolean>
  [key: string]: unknown
}

export interface NetworkConf {
  cniVersion: string
  name: string
  plugins: PluginConf[]
}

/** A file that is no network list is an error only for the one who asks for its network by name. */
export function readConfDir(folder: string): Map<string, { conf?: NetworkConf; path: string; problem?: string }> {
  const found = new Map<string, { conf?: NetworkConf; path: string; problem?: string }>()
  let names: string[]
  try {
    names = readdirSync(folder).sort()
  } catch {
    return found
  }
  for (const file of names.filter((name) => /\.(conflist|conf|json)$/.test(name))) {
    const path = join(folder, file)
    try {
      const conf = parseConf(readFileSync(path, 'utf8'))
      if (!found.has(conf.name)) found.set(conf.name, { conf, path })
    } catch (error) {
      found.set(file.replace(/\.[^.]+$/, ''), { path, problem: (error as Error).message })
    }
  }
  return found
}

/** A list of plugins, or the older form of a single one. @throws Error with what is wrong */
function parseConf(text: string): NetworkConf {
  const parsed: unknown = JSON.parse(text)
  if (typeof parsed !== 'object' || parsed === null) throw new Error('it is no JSON object')
  const { cniVersion = '0.2.0', name, plugins, type } = parsed as Partial<NetworkConf> & { type?: unknown }
  if (typeof name !== 'string' || name === '') throw new Error('it has no `name`')
  if (typeof type === 'string') return { cniVersion, name, plugins: [parsed as PluginConf] }
  if (!Array.isArray(plugins) || plugins.length === 0) throw new Error('it has no `plugins`')
  for (const plugin of plugins)
    if (typeof plugin?.type !== 'string' || plugin.type === '' || plugin.type.includes('/')) throw new Error('a plugin of it has no `type`')
  return { cniVersion, name, plugins }
}

/** What Debian's plugins make of a bridge of its own, with masquerading and published ports. */
export function bridgeConf(name: string, bridge: string, subnet: string): NetworkConf {
  return {
    cniVersion: '0.4.0',
    name,
    plugins: [
      {
        type: 'bridge',
        bridge,
        isGateway: true,
        ipMasq: true,
        hairpinMode: true,
        ipam: { type: 'host-local', ranges: [[{ subnet }]], routes: [{ dst: '0.0.0.0/0' }] },
        capabilities: { ips: true, mac: true },
      },
      // Where Docker is too, the host forwards nothing that no rule allows.
      { type: 'firewall' },
      { type: 'portmap', capabilities: { portMappings: true }, snat: true },
    ],
  }
}

export function badConf(path: string, problem: string): VMKitError {
  return new VMKitError('INVALID_CONFIG', `The network configuration ${path} cannot be used: ${problem}`, { field: 'config.networks' })
}
