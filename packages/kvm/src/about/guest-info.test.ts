import { expect, it } from 'vitest'
import { decodeRecords, encodeRecords } from '../boot/run-spec.js'
import { fromQga, fromRecords, reachable } from './guest-info.js'

const records = [
  ['hostname', 'web'],
  ['kernel', '6.1.0-41-cloud-amd64'],
  ['machine', 'x86_64'],
  ['os-release', 'PRETTY_NAME="Debian \\"GNU\\"/Linux 12"\nID=debian\nVERSION_ID=\'12\'\n# a comment\n'],
  ['interface', 'lo,00:00:00:00:00:00'],
  ['interface', 'eth0,52:54:00:01:02:03'],
  ['interface', 'sit0,'],
  ['address', 'lo,127.0.0.1,8'],
  ['address', 'eth0,fec0::5054:ff:fe01:203,64'],
  ['address', 'eth0,10.0.2.15,24'],
  ['address', 'eth0,fe80::1,64'],
] as const

it('reads what PID 1 of the vmkit guest tells', () => {
  const info = fromRecords(decodeRecords(encodeRecords(records)))
  expect(info).toMatchObject({
    agent: 'vmkit',
    hostname: 'web',
    os: { id: 'debian', name: 'Debian "GNU"/Linux 12', version: '12' },
    kernel: '6.1.0-41-cloud-amd64',
    machine: 'x86_64',
  })
  expect(info.interfaces.map(({ name, mac }) => [name, mac])).toEqual([
    ['lo', '00:00:00:00:00:00'],
    ['eth0', '52:54:00:01:02:03'],
    ['sit0', null],
  ])
  expect(info.interfaces[1]?.addresses[1]).toEqual({ address: '10.0.2.15', prefix: 24, family: 'ipv4' })
  expect(reachable(info)).toEqual(['10.0.2.15', 'fec0::5054:ff:fe01:203'])
})

it('says null of what nobody told', () => {
  expect(fromRecords([])).toEqual({
    agent: 'vmkit',
    hostname: null,
    os: { id: null, name: null, version: null },
    kernel: null,
    machine: null,
    interfaces: [],
  })
  expect(fromQga({})).toMatchObject({ agent: 'qemu-ga', hostname: null, kernel: null, interfaces: [] })
})

it("reads the answers of QEMU's guest agent", () => {
  // The forms of the QEMU Guest Agent Protocol Reference.
  const info = fromQga({
    hostname: { 'host-name': 'cloud' },
    os: { id: 'debian', name: 'Debian GNU/Linux', 'pretty-name': 'Debian GNU/Linux 12 (bookworm)', 'version-id': '12', machine: 'x86_64' },
    interfaces: [
      {
        name: 'ens1',
        'hardware-address': '52:54:00:00:00:01',
        'ip-addresses': [{ 'ip-address': '192.0.2.7', 'ip-address-type': 'ipv4', prefix: 24 }],
      },
      { name: 'ens2' },
    ],
  })
  expect(info.os.name).toBe('Debian GNU/Linux 12 (bookworm)')
  expect(info.interfaces[1]).toEqual({ name: 'ens2', mac: null, addresses: [] })
  expect(reachable(info)).toEqual(['192.0.2.7'])
})
