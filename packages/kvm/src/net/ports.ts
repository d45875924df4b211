/** The ports that QEMU's user-mode network publishes. Host port 0 lets the kernel choose; QEMU tells which it was. */
import type { MachineConfig, PublishedPort } from '@vmkit/core/driver'
import type { Qmp } from '../qmp/client.js'

type Port = MachineConfig['ports'][number]

const ROW = /^\s*(TCP|UDP)\[HOST_FORWARD\]\s+\d+\s+(\S+)\s+(\d+)\s+\S+\s+(\d+)\s/

/** One line of `info usernet` per published port; QMP has no command for it. Seen with QEMU 7.2. */
export function parseUsernet(text: string): PublishedPort[] {
  return text.split(/\r?\n/).flatMap((line) => {
    const [, protocol, hostIp, host, guest] = ROW.exec(line) ?? []
    if (protocol === undefined || hostIp === undefined) return []
    return [
      {
        protocol: protocol.toLowerCase() as 'tcp' | 'udp',
        hostIp: hostIp === '*' ? '0.0.0.0' : hostIp,
        host: Number(host),
        guest: Number(guest),
      },
    ]
  })
}

export async function resolvePorts(qmp: Qmp, ports: readonly Port[]): Promise<PublishedPort[]> {
  if (ports.every(({ host }) => host !== 0)) return ports.map((port) => ({ ...port }))
  const open = parseUsernet(await qmp.execute<string>('human-monitor-command', { 'command-line': 'info usernet' }))
  return ports.map((port) => {
    if (port.host !== 0) return { ...port }
    const at = open.findIndex(({ protocol, guest, hostIp }) => protocol === port.protocol && guest === port.guest && hostIp === port.hostIp)
    const [found] = at < 0 ? [] : open.splice(at, 1)
    return { ...port, host: found?.host ?? 0 }
  })
}
