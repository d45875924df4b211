import { backendPath } from '../../../scripts/lib/backends.js'

/** The newer QEMU that `scripts/backends up` unpacks; `undefined` where it is not there. */
export const nextQemu = (): string | undefined => backendPath('VMKIT_KVM_NEXT_QEMU')
