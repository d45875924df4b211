import type { Backend } from './backend.js'
import type { AdoptedMachine, HandleOwner } from './handle-owner.js'
import type { DisposePolicy } from './owner.js'
import { after } from './timer.js'
import { MachineHandle } from './vm.js'
import type { VM } from './vm-types.js'

/** The handles that a manager disposes of when it closes. */
export class OpenHandles implements HandleOwner {
  readonly #open = new Set<VM>()
  readonly #expiries = new Map<object, () => void>()

  adopt(backend: Backend, machine: AdoptedMachine, policy: DisposePolicy): VM {
    const vm = new MachineHandle(backend, this, machine, policy) as unknown as VM
    if (policy !== 'detach') this.#open.add(vm)
    return vm
  }

  forget(vm: object): void {
    this.#open.delete(vm as VM)
    this.#expiries.get(vm)?.()
    this.#expiries.delete(vm)
  }

  expire(vm: VM, ttl: number): void {
    // A failure here is made good by the next sweep.
    const cancel = after(ttl, () => void vm.delete({ force: true }).catch(() => {}), { keepAlive: false })
    this.#expiries.set(vm, cancel)
  }

  cancelExpiries(): void {
    for (const cancel of this.#expiries.values()) cancel()
    this.#expiries.clear()
  }

  [Symbol.iterator](): IterableIterator<VM> {
    return this.#open.values()
  }
}
