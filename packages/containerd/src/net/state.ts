/** What networks a machine has now, in its folder: whoever ends the machine can give them back. */
import { rmSync } from 'node:fs'
import type { PublishedPort } from '@vmkit/core/driver'
import { readJson, writeJson } from '@vmkit/core/state-folder'
import type { CniResult } from './cni.js'
import type { NetworkConf } from './cni-conf.js'

export interface NetworkState {
  netns: string
  attachments: {
    conf: NetworkConf
    ifName: string
    /** Its address in this network. */
    address?: string
    ip?: string
    mac?: string
    result?: CniResult
  }[]
  ports: PublishedPort[]
}

/** Written before the first thing is made, and again after each. */
export function writeNetworkState(path: string, state: NetworkState): void {
  writeJson(path, state)
}

export function readNetworkState(path: string): NetworkState | undefined {
  try {
    return readJson<NetworkState>(path)
  } catch {
    return undefined
  }
}

export function forgetNetworkState(path: string): void {
  rmSync(path, { force: true })
}
