import { VMKitError } from '../errors.js'
import type { VMInfo } from '../machine.js'
import type { Endpoint } from './vm-types.js'

/** Where this host reaches a port of a machine. @throws VMKitError `NOT_FOUND` when it does not */
export function endpointOf({ id, name, driver, state, addresses, ports }: VMInfo, guest: number): Endpoint {
  const mappings = ports.filter((mapping) => mapping.guest === guest && mapping.host > 0)
  const published = mappings.find((mapping) => mapping.protocol === 'tcp') ?? mappings[0]
  if (published) return { host: reachable(published.hostIp), port: published.host }
  const [address] = addresses
  if (address !== undefined) return { host: address, port: guest }
  throw new VMKitError(
    'NOT_FOUND',
    `Port ${guest} of ${name} is not reachable: it is not published, and this host has no route to the machine (state ${state})`,
    { driver, operation: 'endpoint', vmId: id, hint: `Create it with ports: [{ guest: ${guest} }], and start it` },
  )
}

/** An address that listens on everything is reached on loopback. */
function reachable(hostIp: string): string {
  if (hostIp === '' || hostIp === '0.0.0.0') return '127.0.0.1'
  return hostIp === '::' ? '::1' : hostIp
}
