import { expect, it } from 'vitest'
import { isUnicastMac, machineAddresses, macOf, overlaps, parseRoutes, prefixOf, tapName } from './address.js'

it('has names and addresses that the kernel takes', () => {
  expect(prefixOf('10.86.0.0/16', 5)).toBe('10.86.5')
  expect(macOf('10.86.5.254')).toBe('52:54:0a:56:05:fe')
  const all = machineAddresses('10.86.5')
  expect([all[0], all.at(-1), all.length]).toEqual(['10.86.5.2', '10.86.5.254', 253])
  expect(tapName('0123456789ab', 0)).toMatch(/^vmkitt[0-9a-f]{9}$/)
  expect(tapName('0123456789ab', 0)).not.toBe(tapName('0123456789ab', 1))
})

it('tells a machine’s hardware address from a group’s', () => {
  expect(isUnicastMac('52:54:00:00:00:01')).toBe(true)
  for (const mac of ['01:00:5e:00:00:01', 'ff:ff:ff:ff:ff:ff', '00:00:00:00:00:00']) expect(isUnicastMac(mac), mac).toBe(false)
})

it('sees every route that reaches into a network, and none beside it', () => {
  const routes = parseRoutes(
    [
      'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT',
      'eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0',
      'br0\t0005560A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0',
      'wide\t0000650A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0',
      'one\t0706560A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0',
      '',
    ].join('\n'),
  )
  expect(routes.map(({ device }) => device)).toEqual(['br0', 'wide', 'one'])
  const by = (prefix: string): string[] => routes.filter((route) => overlaps(prefix, route)).map(({ device }) => device)
  expect(by('10.86.5')).toEqual(['br0'])
  expect(by('10.86.6')).toEqual(['one'])
  expect(by('10.101.200')).toEqual(['wide'])
  expect(by('10.86.7')).toEqual([])
  expect(by('192.0.2')).toEqual([])
})
