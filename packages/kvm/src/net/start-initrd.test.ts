import { expect, it } from 'vitest'
import { cloudNetworkConfig } from './cloud-network.js'
import { startRecords } from './start-initrd.js'

const attachments = [{ network: 'back', address: '10.86.5.2', mac: '52:54:0a:56:05:02' }]
const mac = '52:54:00:00:00:01'

it('tells the vmkit guest its NICs by their hardware addresses, and places names before the files of the config', () => {
  const records = [
    ['hostname', 'web'],
    ['nic', 'eth0,10.0.2.15,255.255.255.0,10.0.2.2'],
    ['file', '644:0:/etc/hosts'],
  ] as const
  expect(startRecords(records, mac, attachments)).toEqual([
    ['file', '644:1000000:/etc/hosts'],
    ['hostname', 'web'],
    ['nic', `${mac},10.0.2.15,255.255.255.0,10.0.2.2`],
    ['file', '644:0:/etc/hosts'],
    ['nic', '52:54:0a:56:05:02,10.86.5.2,255.255.255.0,'],
  ])
})

it('tells cloud-init the same, and the way outside by DHCP where there is one', () => {
  const named = (name: string, address: string, rest: object) => ({ [name]: { match: { macaddress: address }, 'set-name': name, ...rest } })
  const net1 = named('net1', '52:54:0a:56:05:02', { dhcp4: false, addresses: ['10.86.5.2/24'] })
  expect(JSON.parse(cloudNetworkConfig(mac, attachments))).toEqual({
    version: 2,
    ethernets: { ...named('net0', mac, { dhcp4: true }), ...net1 },
  })
  expect(JSON.parse(cloudNetworkConfig(undefined, attachments))).toEqual({ version: 2, ethernets: net1 })
})
