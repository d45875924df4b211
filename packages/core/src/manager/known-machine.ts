import type { MachineRef } from '../driver.js'
import type { MachineEvent, Missing } from '../machine.js'

/** What a call needs to know of its machine. It may wait for its turn, so it asks for the id when that comes. */
export interface TargetMachine {
  readonly id: string
  /** Stays when the id changes, and is the machine's alone on its backend. */
  readonly name: string
  readonly missing?: Missing
}

/** A machine as its handle knows it: a restore may give it a new id. */
export class KnownMachine implements TargetMachine {
  readonly name: string
  readonly #ids: Set<string>
  #id: string
  #missing: Missing | undefined

  constructor(ref: MachineRef, name: string) {
    this.name = name
    this.#id = ref.id
    this.#ids = new Set([ref.id])
    this.#missing = ref.missing
  }

  get id(): string {
    return this.#id
  }

  get missing(): Missing | undefined {
    return this.#missing
  }

  /** It has this id from now on. */
  become({ id, missing }: MachineRef): void {
    this.#id = id
    this.#ids.add(id)
    this.#missing = missing ?? this.#missing
  }

  /** Whether an event is about it. A name alone does not tell: somebody else may have replaced the machine. */
  isMeantBy(event: MachineEvent): boolean {
    // Another handle's restore tells the new id.
    if ((event.type === 'restored' || event.type === 'migrated') && event.name === this.name) this.#ids.add(event.id)
    return this.#ids.has(event.id)
  }
}
