import type { HostProbe } from '@vmkit/core'
import { expect, it } from 'vitest'
import { kataConfigOf } from './kata-config.js'
import { type KataHost, refine } from './probe.js'
import { holds } from './verify.js'

const containerd: HostProbe = {
  available: true,
  engine: 'containerd 1.6.20',
  missing: { 'snapshot.memory': 'no CRIU' },
  details: { snapshotter: 'overlayfs' },
}
const options = { runtime: 'io.containerd.kata.v2', allowStandIn: false }
const host = (section: object, runtime: object = {}, more: Partial<KataHost> = {}): KataHost => ({
  shim: '/usr/bin/containerd-shim-kata-v2',
  triedShims: ['/usr/bin/containerd-shim-kata-v2'],
  version: { kind: 'go', version: '3.28.0' },
  config: kataConfigOf('/etc/kata.toml', { hypervisor: { qemu: { path: process.execPath } }, runtime, ...section }),
  triedConfigs: ['/etc/kata.toml'],
  ...more,
})
const all = () => true

it('names what runs, and what no Kata has', () => {
  const probe = refine(containerd, host({}), options, all)
  expect(probe).toMatchObject({ available: true, engine: 'Kata 3.28.0 (Go shim, qemu), containerd 1.6.20' })
  expect(probe.missing['snapshot.memory']).toContain('no Checkpoint')
  expect(probe.missing['migrate.live']).toContain('no Checkpoint')
})

it.each<[string, KataHost, (path: string) => boolean, string]>([
  ['no shim', host({}, {}, { shim: undefined }), all, 'is not there'],
  ['a shim of somebody else', host({}, {}, { version: { kind: 'foreign' } }), all, "is not Kata's"],
  ['no configuration', host({}, {}, { config: undefined }), all, 'configuration file'],
  ['no hypervisor', host({ hypervisor: { qemu: { path: '/no/such' } } }), all, '/no/such'],
  ['no KVM', host({ hypervisor: { firecracker: { path: process.execPath } } }), () => false, '/dev/kvm'],
  ['no vsock', host({}), (path) => path !== '/dev/vhost-vsock', 'vhost_vsock'],
  ['Firecracker over overlayfs', host({ hypervisor: { firecracker: { path: process.execPath } } }), all, 'devmapper'],
])('%s makes it unavailable', (_, found, device, words) => {
  expect(refine(containerd, found, options, device)).toMatchObject({ available: false, reason: expect.stringContaining(words) })
})

it('passes on why containerd is not there, with the code and the hint', () => {
  const away: HostProbe = { available: false, reason: 'EACCES', code: 'PERMISSION_DENIED', hint: 'Run as root', missing: {} }
  expect(refine(away, host({}), options, all)).toMatchObject({
    available: false,
    reason: 'EACCES',
    code: 'PERMISSION_DENIED',
    hint: 'Run as root',
  })
})

it('a stand-in is taken only when asked for, and says what it is', () => {
  const found = host({}, {}, { version: { kind: 'foreign', version: '1.6.20' } })
  const probe = refine(containerd, found, { ...options, allowStandIn: true }, all)
  expect(probe.available).toBe(true)
  expect(probe.engine).toMatch(/^STAND-IN for Kata/)
  expect(probe.details?.['stand-in']).toContain('without a VM')
})

it('takes back what the hypervisor cannot do', () => {
  const missing = (section: object, runtime: object = {}) =>
    refine({ ...containerd, details: { snapshotter: 'devmapper' } }, host(section, runtime), options, all).missing
  expect(missing({ hypervisor: { firecracker: { path: process.execPath } } })).toMatchObject({
    mounts: expect.any(String),
    volumes: expect.any(String),
    resize: expect.any(String),
  })
  expect(missing({ hypervisor: { qemu: { path: process.execPath, shared_fs: 'none' } } })).toMatchObject({
    mounts: expect.stringContaining('shared_fs'),
  })
  expect(missing({ hypervisor: { qemu: { path: process.execPath, confidential_guest: true } } })).toMatchObject({
    resize: expect.any(String),
  })
  expect(missing({}, { static_sandbox_resource_mgmt: true })).toMatchObject({ resize: expect.any(String) })
  expect(missing({})).not.toHaveProperty('resize')
})

it('reads a limit of either cgroup version', () => {
  expect(holds('cpus', 0.5, '50000 100000')).toBe(true)
  expect(holds('cpus', 0.5, '50000\n100000')).toBe(true)
  expect(holds('cpus', 0.5, 'max 100000')).toBe(false)
  expect(holds('memory', 2 ** 26, String(2 ** 26))).toBe(true)
  expect(holds('memory', 2 ** 26, 'max')).toBe(false)
  expect(holds('pids', 9, '9')).toBe(true)
})
