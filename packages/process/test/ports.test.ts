import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { expect, it } from 'vitest'
import { bench, ctx } from './tools.js'

it('a port that somebody has is CONFLICT at start, and the machine stays created', async () => {
  await using machines = bench()
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const id = await machines.create(['sleep', '1000'], { ports: [{ guest: port, host: 0, hostIp: '127.0.0.1', protocol: 'tcp' }] })
  await expect(machines.driver.start(id, ctx)).rejects.toMatchObject({ code: 'CONFLICT', field: 'config.ports.0.guest' })
  expect((await machines.driver.getStatus(id, ctx)).state).toBe('created')
  server.close()
  await once(server, 'close')
  await machines.driver.start(id, ctx)
  const info = await machines.driver.getInfo(id, ctx)
  expect(info.ports).toEqual([{ guest: port, host: port, hostIp: '127.0.0.1', protocol: 'tcp' }])
  expect(info.addresses).toEqual(['127.0.0.1'])
})

it('a mapping to another port is refused, by its name', async () => {
  await using machines = bench()
  const ports = [{ guest: 80, host: 8080, hostIp: '127.0.0.1', protocol: 'tcp' as const }]
  await expect(machines.create(['true'], { ports })).rejects.toMatchObject({ code: 'UNSUPPORTED', field: 'config.ports.0.host' })
  expect(await machines.driver.list({}, ctx)).toEqual([])
})
