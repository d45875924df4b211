/** The whole look at a host, for each name of a runtime: shims and configuration files as Kata installs them, in a folder. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { HostProbe } from '@vmkit/core'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { splitOptions } from './options.js'
import { lookAtHost, refine } from './probe.js'

const folder = mkdtempSync(join(tmpdir(), 'vmkit-kata-test-'))
const opt = (name: string) => join(folder, 'opt', name)
const containerd: HostProbe = { available: true, engine: 'containerd 2.1.9', missing: {}, details: { snapshotter: 'overlayfs' } }
const GO = (version: string) => `Kata Containers containerd shim (Golang): id: "io.containerd.kata.v2", version: ${version}, commit: 0`
const RUST = (version: string) => `Kata Containers containerd shim (Rust): id: io.containerd.kata.v2, version: ${version}, commit: 0`

/** Keys and types of configuration-qemu.toml, -clh, -fc of the Go shim, and of runtime-rs' ones; what is behind their `#` is left out. */
const CONFIGS = {
  qemu: `[hypervisor.qemu]
path = "${opt('qemu-system-x86_64')}"
kernel = "/opt/kata/share/kata-containers/vmlinux.container"
image = "/opt/kata/share/kata-containers/kata-containers.img"
machine_type = "q35"
enable_annotations = ["enable_iommu", "virtio_fs_extra_args", "kernel_params"]
valid_hypervisor_paths = ["${opt('qemu-system-x86_64')}"]
default_vcpus = 1
default_maxvcpus = 0
default_memory = 2048
shared_fs = "virtio-fs"
virtio_fs_daemon = "/opt/kata/libexec/virtiofsd"
valid_virtio_fs_daemon_paths = ["/opt/kata/libexec/virtiofsd"]
valid_entropy_sources = ["/dev/urandom","/dev/random",""]
[factory]
[agent.kata]
kernel_modules=[]
[runtime]
internetworking_model="tcfilter"
disable_guest_seccomp=true
sandbox_cgroup_only=false
static_sandbox_resource_mgmt=false
experimental=[]
`,
  clh: `[hypervisor.clh]
path = "${opt('cloud-hypervisor')}"
enable_annotations = ["enable_iommu"]
default_vcpus = 1
default_memory = 2048
shared_fs = "virtio-fs"
block_device_driver = "virtio-blk"
[agent.kata]
[runtime]
internetworking_model="tcfilter"
disable_guest_seccomp=false
`,
  fc: `[hypervisor.firecracker]
path = "${opt('firecracker')}"
jailer_path = "${opt('jailer')}"
valid_jailer_paths = ["${opt('jailer')}"]
enable_annotations = []
default_vcpus = 1
default_memory = 2048
block_device_driver = "virtio-mmio"
[agent.kata]
[runtime]
internetworking_model="tcfilter"
disable_guest_seccomp=true
static_sandbox_resource_mgmt=true
`,
  dragonball: `[hypervisor.dragonball]
path = ""
ctlpath = ""
enable_annotations = ["default_vcpus", "default_memory"]
default_vcpus = 1
default_memory = 256
shared_fs = "inline-virtio-fs"
block_device_driver = "virtio-blk-mmio"
[agent.kata]
container_pipe_size=0
[runtime]
name="virt_container"
hypervisor_name="dragonball"
agent_name="kata"
internetworking_model="tcfilter"
disable_guest_seccomp=true
`,
} as const

function install(name: string, version: string, config: keyof typeof CONFIGS): string {
  const path = join(folder, 'bin', name)
  // As Kata's own packages wrap it: the configuration is in the environment of the real shim.
  writeFileSync(path, `#!/bin/bash\nKATA_CONF_FILE=${opt(`configuration-${config}.toml`)} /bin/echo '${version}'\n`)
  chmodSync(path, 0o755)
  return path
}

beforeAll(() => {
  mkdirSync(join(folder, 'bin'))
  mkdirSync(join(folder, 'opt'))
  for (const [name, text] of Object.entries(CONFIGS)) writeFileSync(opt(`configuration-${name}.toml`), text)
  for (const name of ['qemu-system-x86_64', 'cloud-hypervisor', 'firecracker']) writeFileSync(opt(name), '')
  install('containerd-shim-kata-v2', GO('3.28.0'), 'qemu')
  install('containerd-shim-kata-qemu-v2', GO('3.28.0'), 'qemu')
  install('containerd-shim-kata-clh-v2', GO('3.19.1'), 'clh')
  install('containerd-shim-kata-fc-v2', GO('3.28.0'), 'fc')
  install('containerd-shim-kata-dragonball-v2', RUST('3.23.0'), 'dragonball')
  install('own-shim', RUST('4.0.0'), 'dragonball')
})
afterAll(() => rmSync(folder, { recursive: true }))
afterEach(() => void vi.unstubAllEnvs())

async function look(runtime: string | undefined, probe = containerd, device: (path: string) => boolean = () => true): Promise<HostProbe> {
  vi.stubEnv('PATH', join(folder, 'bin'))
  const { own } = splitOptions(runtime === undefined ? {} : { runtime })
  return refine(probe, await lookAtHost(own, new AbortController().signal), own, device)
}

describe('the probe', () => {
  it.each([
    [undefined, 'io.containerd.kata.v2', 'Kata 3.28.0 (Go shim, qemu), containerd 2.1.9', `qemu, ${opt('qemu-system-x86_64')}`],
    ['kata', 'io.containerd.kata.v2', 'Kata 3.28.0 (Go shim, qemu), containerd 2.1.9', `qemu, ${opt('qemu-system-x86_64')}`],
    ['kata-qemu', 'io.containerd.kata-qemu.v2', 'Kata 3.28.0 (Go shim, qemu), containerd 2.1.9', `qemu, ${opt('qemu-system-x86_64')}`],
    ['kata-clh', 'io.containerd.kata-clh.v2', 'Kata 3.19.1 (Go shim, clh), containerd 2.1.9', `clh, ${opt('cloud-hypervisor')}`],
    [
      'io.containerd.kata-dragonball.v2',
      'io.containerd.kata-dragonball.v2',
      'Kata 3.23.0 (runtime-rs, dragonball), containerd 2.1.9',
      'dragonball',
    ],
    [join(folder, 'bin/own-shim'), join(folder, 'bin/own-shim'), 'Kata 4.0.0 (runtime-rs, dragonball), containerd 2.1.9', 'dragonball'],
  ])('of %s finds shim, configuration and hypervisor', async (runtime, name, engine, hypervisor) => {
    const { available, reason, details, ...rest } = await look(runtime)
    expect({ available, reason, engine: rest.engine }).toEqual({ available: true, reason: undefined, engine })
    expect(details).toMatchObject({ runtime: name, hypervisor, '/dev/kvm': 'there', '/dev/vhost-vsock': 'there' })
    expect(details?.pause).toContain('of the container')
    const loggers = engine.includes('runtime-rs') ? { restart: expect.stringContaining('logger'), 'logs.since': expect.any(String) } : {}
    expect(rest.missing).toEqual({
      ...loggers,
      'snapshot.memory': expect.stringContaining('Checkpoint'),
      'clone.memory': expect.stringContaining('Checkpoint'),
      'migrate.live': expect.stringContaining('Checkpoint'),
    })
  })

  it('of kata-fc wants block devices, and takes back what Firecracker cannot', async () => {
    expect(await look('kata-fc')).toMatchObject({ available: false, reason: expect.stringContaining('overlayfs') })
    for (const snapshotter of ['devmapper', 'blockfile']) {
      const probe = await look('kata-fc', { ...containerd, details: { snapshotter } })
      expect(probe).toMatchObject({
        available: true,
        engine: 'Kata 3.28.0 (Go shim, firecracker), containerd 2.1.9',
        missing: {
          mounts: expect.stringContaining('shares no files'),
          volumes: expect.stringContaining('shares no files'),
          resize: expect.stringContaining('cannot add CPUs or memory'),
        },
      })
    }
  })

  it.each([
    ['kata-clh', '/dev/kvm', 'needs /dev/kvm'],
    ['kata-dragonball', '/dev/kvm', 'needs /dev/kvm'],
    ['kata-qemu', '/dev/vhost-vsock', 'vhost_vsock'],
  ])('of %s without %s says so', async (runtime, device, words) => {
    const probe = await look(runtime, containerd, (path) => path !== device)
    expect(probe).toMatchObject({ available: false, reason: expect.stringContaining(words), details: { [device]: 'missing' } })
  })

  it('of kata-clh runs without vsock of the host, which it has over a UNIX socket', async () => {
    expect(await look('kata-clh', containerd, (path) => path !== '/dev/vhost-vsock')).toMatchObject({ available: true })
  })

  it('of what is not installed tells each place that was looked at', async () => {
    const probe = await look('kata-none')
    expect(probe).toMatchObject({ available: false, reason: expect.stringContaining('containerd-shim-kata-none-v2') })
    expect(probe.tried?.map(({ target }) => target)).toEqual([
      join(folder, 'bin/containerd-shim-kata-none-v2'),
      '/usr/local/bin/containerd-shim-kata-none-v2',
      '/usr/bin/containerd-shim-kata-none-v2',
      '/opt/kata/bin/containerd-shim-kata-none-v2',
      '/opt/kata/runtime-rs/bin/containerd-shim-kata-none-v2',
    ])
  })
})

it.each(['runc', 'kata qemu', 'relative/shim', '--version', 'io.containerd.kata'])('no runtime of Kata is called %j', (runtime) => {
  expect(() => splitOptions({ runtime })).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG', field: 'options.runtime' }))
})
