/** The virtio-serial ports of a machine of the vmkit guest. */
import type { BootPlan, ChannelSpec } from '../qemu/machine-spec.js'
import { FILES } from '../state/machine-folder.js'

/** Programs of the host that may talk to one guest at the same time; see `agent/claim.ts`. */
export const EXEC_PORTS = 4

/** Opened by the guest when it is up. */
export const FIRST_EXEC_PORT = 'vmkit.exec.0'

/** By which QEMU's events call the port of this name. */
export function channelDevice({ channels }: Pick<BootPlan, 'channels'>, name: string): string | undefined {
  const index = channels.findIndex((channel) => channel.name === name)
  return index < 0 ? undefined : `channel${index}-device`
}

export const execSocket = (port: number): string => `exec${port}.sock`

export function guestChannels(isTerminal: boolean): ChannelSpec[] {
  return [
    { name: 'vmkit.stdout', chardev: { kind: 'file', path: isTerminal ? FILES.mainLog : FILES.stdoutLog, append: true } },
    { name: 'vmkit.stderr', chardev: { kind: 'file', path: FILES.stderrLog, append: true } },
    { name: 'vmkit.exit', chardev: { kind: 'file', path: FILES.exit, append: false } },
    ...Array.from(
      { length: EXEC_PORTS },
      (_, port): ChannelSpec => ({
        name: `vmkit.exec.${port}`,
        chardev: { kind: 'socket', path: execSocket(port) },
      }),
    ),
  ]
}

/** Where QEMU's guest agent listens in guests that have it (qemu-ga(8)). */
export const AGENT_CHANNEL: ChannelSpec = { name: 'org.qemu.guest_agent.0', chardev: { kind: 'socket', path: FILES.agent } }
