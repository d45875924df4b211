import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { readKataConfig } from './kata-config.js'

const folder = mkdtempSync(join(tmpdir(), 'vmkit-kata-test-'))
afterAll(() => rmSync(folder, { recursive: true }))
const path = join(folder, 'configuration.toml')

it('reads a configuration of the Go shim, with its drop-ins', () => {
  writeFileSync(
    path,
    '[hypervisor.qemu]\npath = "/usr/bin/qemu"\nenable_annotations = ["enable_iommu", "default_.*"]\nvalid_hypervisor_paths = ["/usr/bin/qemu*"]\nshared_fs = "virtio-fs"\ndefault_vcpus = 1\ndefault_memory = 2048\n[runtime]\ninternetworking_model = "tcfilter"\ndisable_guest_seccomp = true\n',
  )
  mkdirSync(join(folder, 'config.d'))
  writeFileSync(join(folder, 'config.d', '10-more.toml'), '[hypervisor.qemu]\ndefault_memory = 512\nconfidential_guest = true\n')
  expect(readKataConfig(path)).toEqual({
    path,
    hypervisor: 'qemu',
    hypervisorPath: '/usr/bin/qemu',
    enableAnnotations: ['enable_iommu', 'default_.*'],
    validPaths: { valid_hypervisor_paths: ['/usr/bin/qemu*'] },
    sharedFs: 'virtio-fs',
    confidentialGuest: true,
    defaultVcpus: 1,
    defaultMemory: 512,
    disableGuestSeccomp: true,
    networkModel: 'tcfilter',
    staticResources: false,
  })
  rmSync(join(folder, 'config.d'), { recursive: true })
})

it('reads one of runtime-rs, which names its hypervisor', () => {
  writeFileSync(
    path,
    '[hypervisor.dragonball]\n[hypervisor.cloud-hypervisor]\npath = "/x"\n[runtime]\nhypervisor_name = "cloud-hypervisor"\ndisable_guest_seccomp = false\n',
  )
  expect(readKataConfig(path)).toMatchObject({ hypervisor: 'cloud-hypervisor', hypervisorPath: '/x', disableGuestSeccomp: false })
})

it('says which file cannot be read', () => {
  writeFileSync(path, '[hypervisor')
  expect(() => readKataConfig(path)).toThrow(
    expect.objectContaining({ code: 'BACKEND_UNAVAILABLE', message: expect.stringContaining(path) }),
  )
})
