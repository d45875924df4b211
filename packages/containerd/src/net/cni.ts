/** Runs network plugins as the CNI specification has it: the request in the environment, the configuration on stdin. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { ErrorCode } from '@vmkit/core'
import { VMKitError } from '@vmkit/core/driver'
import { runTool } from '../tool.js'
import type { NetworkConf, PluginConf } from './cni-conf.js'

export interface Attachment {
  /** Unique on this host: plugins keep state below it. */
  containerId: string
  netns: string
  ifName: string
  ports: readonly { guest: number; host: number; hostIp: string; protocol: string }[]
  ip?: string
  mac?: string
}

export interface CniResult {
  ips?: { address: string; gateway?: string }[]
  [key: string]: unknown
}

export interface CniHost {
  binDirs: readonly string[]
}

/** ADD, plugin by plugin; the result of one goes to the next. What was added is taken back when one fails. */
export async function addNetwork(host: CniHost, conf: NetworkConf, attachment: Attachment, signal: AbortSignal): Promise<CniResult> {
  let previous: CniResult | undefined
  try {
    for (const plugin of conf.plugins) {
      signal.throwIfAborted()
      const output = await patiently(signal, (late) => runPlugin(host, 'ADD', conf, plugin, attachment, previous, late))
      previous = output === '' ? previous : (JSON.parse(output) as CniResult)
    }
    return previous ?? {}
  } catch (error) {
    await deleteNetwork(host, conf, attachment, previous)
    throw error
  }
}

/** A plugin and those that it calls take less. */
const PATIENCE_MS = 5000

/** Ends `work` some time after the signal: a plugin that is killed on its way leaves what DEL does not find, such as an address. */
async function patiently<T>(signal: AbortSignal, work: (late: AbortSignal) => Promise<T>): Promise<T> {
  const late = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const onAbort = (): void => {
    timer = setTimeout(() => late.abort(signal.reason), PATIENCE_MS)
  }
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await work(late.signal)
  } finally {
    signal.removeEventListener('abort', onAbort)
    clearTimeout(timer)
  }
}

/** DEL, last plugin first. Goes on past failures, because whatever can be released must be; returns the first of them. */
export async function deleteNetwork(host: CniHost, conf: NetworkConf, attachment: Attachment, previous?: CniResult): Promise<unknown> {
  let failure: unknown
  for (const plugin of [...conf.plugins].reverse()) {
    await runPlugin(host, 'DEL', conf, plugin, attachment, previous).catch((error: unknown) => {
      failure ??= error
    })
  }
  return failure
}

export function findPlugin({ binDirs }: CniHost, type: string): string | undefined {
  return binDirs.map((folder) => join(folder, type)).find((path) => existsSync(path))
}

async function runPlugin(
  host: CniHost,
  command: 'ADD' | 'DEL',
  conf: NetworkConf,
  plugin: PluginConf,
  attachment: Attachment,
  previous: CniResult | undefined,
  signal?: AbortSignal,
): Promise<string> {
  const path = findPlugin(host, plugin.type)
  if (path === undefined) {
    throw new VMKitError(
      'UNSUPPORTED',
      `The network ${conf.name} needs the CNI plugin ${plugin.type}, which is in none of ${host.binDirs.join(', ')}`,
      {
        capability: 'networks',
        hint: "Install the plugins; Debian's package is containernetworking-plugins",
      },
    )
  }
  const { capabilities, ...rest } = plugin
  const input = {
    ...rest,
    cniVersion: conf.cniVersion,
    name: conf.name,
    ...(capabilities ? { runtimeConfig: runtimeConfig(capabilities, attachment) } : {}),
    ...(previous ? { prevResult: previous } : {}),
  }
  const { code, stdout, stderr } = await runTool(path, [], {
    input: JSON.stringify(input),
    ...(signal ? { signal } : {}),
    env: {
      PATH: process.env.PATH ?? '/usr/sbin:/usr/bin:/sbin:/bin',
      CNI_COMMAND: command,
      CNI_CONTAINERID: attachment.containerId,
      CNI_NETNS: attachment.netns,
      CNI_IFNAME: attachment.ifName,
      CNI_PATH: host.binDirs.join(':'),
      // Plugins refuse arguments that they do not know, unless they are told not to.
      CNI_ARGS: [
        'IgnoreUnknown=1',
        ...(attachment.ip === undefined ? [] : [`IP=${attachment.ip}`]),
        ...(attachment.mac === undefined ? [] : [`MAC=${attachment.mac}`]),
      ].join(';'),
    },
  })
  if (code === 0) return stdout.trim()
  throw pluginError(conf, plugin, stdout, stderr)
}

function runtimeConfig(capabilities: Record<string, boolean>, { ports, ip, mac }: Attachment): Record<string, unknown> {
  return {
    ...(capabilities.portMappings
      ? {
          portMappings: ports.map(({ guest, host, hostIp, protocol }) => ({
            containerPort: guest,
            hostPort: host,
            hostIP: hostIp === '0.0.0.0' ? '' : hostIp,
            protocol,
          })),
        }
      : {}),
    ...(capabilities.ips && ip !== undefined ? { ips: [ip] } : {}),
    ...(capabilities.mac && mac !== undefined ? { mac } : {}),
  }
}

/** Error codes of the specification: 11 is "try again later"; others of a plugin's own come with words. */
const TRY_AGAIN = 11

function pluginError(conf: NetworkConf, plugin: PluginConf, stdout: string, stderr: string): VMKitError {
  let words = stderr.trim() || stdout.trim()
  let code: ErrorCode = 'BACKEND_ERROR'
  try {
    const told = JSON.parse(stdout) as { code?: number; msg?: string; details?: string }
    words = [told.msg, told.details].filter(Boolean).join('; ')
    if (told.code === TRY_AGAIN) code = 'CONFLICT'
  } catch {
    // not the answer of a plugin
  }
  if (/no IP addresses available|range.* is full/i.test(words)) code = 'RESOURCE_EXHAUSTED'
  else if (/already allocated|duplicate allocation|requested IP address .* is not available/i.test(words)) code = 'CONFLICT'
  else if (/failed to (parse|load netconf|unmarshal)|invalid|must specify|not in .*range|unsupported|missing/i.test(words))
    code = 'INVALID_CONFIG'
  return new VMKitError(code, `The CNI plugin ${plugin.type} of the network ${conf.name} failed: ${words || 'without a word'}`, {
    field: 'config.networks',
  })
}
