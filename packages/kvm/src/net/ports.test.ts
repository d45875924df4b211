import { expect, it } from 'vitest'
import { parseUsernet } from './ports.js'

// As QEMU 7.2 prints it.
const TEXT = `Hub -1 (net0):\r
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r
  TCP[HOST_FORWARD]   9       127.0.0.1 40993       10.0.2.15    80     0     0\r
  TCP[ESTABLISHED]   12       127.0.0.1 40993       10.0.2.15    80     0     0\r
  UDP[HOST_FORWARD]   8               * 50422       10.0.2.15    53     0     0\r
`

it('finds the ports that the kernel chose', () => {
  expect(parseUsernet(TEXT)).toEqual([
    { protocol: 'tcp', hostIp: '127.0.0.1', host: 40993, guest: 80 },
    { protocol: 'udp', hostIp: '0.0.0.0', host: 50422, guest: 53 },
  ])
})
