import { createManager } from '@vmkit/core'
import '@vmkit/kvm'

// A cloud image such as Debian's `genericcloud`; a kernel and an initrd only for a disk without a boot loader.
const [image, kernel, initrd] = process.argv.slice(2)
if (image === undefined) throw new Error('usage: npm start -w kvm-cloud-init -- IMAGE [KERNEL INITRD]')

const userData = `#cloud-config
write_files:
- path: /etc/from-seed
  content: "it's $(x)"
runcmd:
- [sh, -c, "echo \\"$(cat /etc/from-seed), written by cloud-init in $(hostname)\\" > /run/ready; echo seed-was-read > /dev/console"]
`

const stateDir = process.env.VMKIT_KVM_STATE
await using manager = createManager({ drivers: { kvm: stateDir === undefined ? {} : { stateDir } } })
await using vm = await manager.driver('kvm').create({
  name: 'cloud',
  memory: '512MiB',
  // The image is only read: the machine writes to an overlay of its own.
  disk: { image },
  ...(kernel === undefined ? {} : { kernel: { path: kernel, initrd, cmdline: 'console=ttyS0' } }),
  cloudInit: { userData },
})
await vm.start()
await vm.waitFor({ log: /seed-was-read/, timeoutMs: 600_000 })
// By QEMU's guest agent, which the image must have. It may start after cloud-init.
if (!vm.supports('exec')) throw new Error(vm.missing.exec)
await vm.waitFor({ exec: ['true'], timeoutMs: 180_000 })
const { stdout } = await vm.exec(['cat', '/run/ready'])
process.stdout.write(stdout)
