/** The network-config of cloud-init ("Networking config version 2") for a machine of named networks. JSON is YAML. Pure. */
import { type Attachment, PREFIX_BITS } from './address.js'

/** `mac`: of the NIC that leads outside, by DHCP; absent where there is none. */
export function cloudNetworkConfig(mac: string | undefined, attachments: readonly Attachment[]): string {
  const named = (index: number, address: string, rest: object): [string, object] => [
    `net${index}`,
    { match: { macaddress: address }, 'set-name': `net${index}`, ...rest },
  ]
  const ethernets = Object.fromEntries([
    ...(mac === undefined ? [] : [named(0, mac, { dhcp4: true })]),
    ...attachments.map((one, index) => named(index + 1, one.mac, { dhcp4: false, addresses: [`${one.address}/${PREFIX_BITS}`] })),
  ])
  return `${JSON.stringify({ version: 2, ethernets })}\n`
}
