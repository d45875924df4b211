import type { MachineRef } from '../driver.js'
import type { MachineEvent, Missing } from '../machine.js'

/** What a call needs to know of its machine. It may wait for its turn, so it asks for the id when that comes. */
export interface TargetMachine {
  readonly id: string
  /** Stays when the id changes, and is the machine's alone on its backend. A rename changes it. */
  readonly name: string
  readonly missing?: Missing
}

/** Names that machines were given after their handles were made, by id. Shared by all handles of a backend. */
export type NewNames = Map<string, string>

/** A machine as its handle knows it: a restore may give it a new id, and a rename a new name. */
export class KnownMachine implements TargetMachine {
  readonly #names: NewNames
  readonly #ids: Set<string>
  #id: string
  #name: string
  #missing: Missing | undefined

  constructor(ref: MachineRef, name: string, names: NewNames) {
    this.#names = names
    this.#name = name
    this.#id = ref.id
    this.#ids = new Set([ref.id])
    this.#missing = ref.missing
    // Somebody else may have renamed it again since.
    if (names.has(ref.id)) names.set(ref.id, name)
  }

  get id(): string {
    return this.#id
  }

  get name(): string {
    return this.#names.get(this.#id) ?? this.#name
  }

  get missing(): Missing | undefined {
    return this.#missing
  }

  /** It has this id from now on. */
  become({ id, missing }: MachineRef): void {
    this.#name = this.name
    this.#id = id
    this.#ids.add(id)
    this.#missing = missing ?? this.#missing
  }

  /** All handles of it know. */
  rename(name: string): void {
    this.#names.set(this.#id, name)
  }

  /** It is gone. */
  forget(): void {
    this.#name = this.name
    this.#names.delete(this.#id)
  }

  /** Whether an event is about it. A name alone does not tell: somebody else may have replaced the machine. */
  isMeantBy(event: MachineEvent): boolean {
    // Another handle's restore tells the new id.
    if ((event.type === 'restored' || event.type === 'migrated') && event.name === this.name) this.#ids.add(event.id)
    return this.#ids.has(event.id)
  }
}
