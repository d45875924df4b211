import { conformance } from '@vmkit/conformance'
import { fixture } from './kit.js'
import { nextQemu } from './next-qemu.js'

// What a newer QEMU can do differently.
conformance({
  ...fixture({ binary: nextQemu() ?? '/nonexistent/qemu-next' }),
  variant: 'next',
  only: ['lifecycle', 'exec', 'snapshot', 'migrate'],
})
