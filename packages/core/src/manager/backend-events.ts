import type { CallContext, VMDriver } from '../driver.js'
import type { MachineEvent, VMEvent } from '../machine.js'
import { EventBus } from './events.js'
import type { Host } from './host.js'

/** What happens on a backend: as it tells itself where it has events, else what this manager did. */
export class BackendEvents {
  readonly #driver: VMDriver
  readonly #name: string
  readonly #host: Host
  readonly #bus = new EventBus()

  /** `name` is what the app calls the driver. */
  constructor(driver: VMDriver, name: string, host: Host) {
    this.#driver = driver
    this.#name = name
    this.#host = host
  }

  /** Whether this manager has to tell what it does. */
  get areOurs(): boolean {
    return this.#host.missingReason('events') !== undefined
  }

  /** Tells readers, unless the backend does that itself. */
  emit(event: VMEvent): void {
    if (this.areOurs) this.#bus.emit(event)
  }

  open(ctx: CallContext): AsyncIterable<VMEvent> {
    // No probe where the manifest is certain: what happens after the first pull must not be missed.
    if (!this.#host.known && this.#driver.capabilities.events !== true) return this.#openOnceProbed(ctx)
    const { events } = this.#driver
    if (!events || this.areOurs) return this.#bus.subscribe(ctx.signal)
    const own = events.call(this.#driver, ctx)
    return this.#name === this.#driver.name ? own : renamed(own, this.#name)
  }

  async *#openOnceProbed(ctx: CallContext): AsyncGenerator<VMEvent> {
    await this.#host.requireAvailable({ signal: ctx.signal })
    yield* this.open(ctx)
  }
}

export async function* ofMachine(events: AsyncIterable<VMEvent>, isWanted: (event: MachineEvent) => boolean): AsyncGenerator<MachineEvent> {
  for await (const event of events) if (event.type !== 'image-pulled' && isWanted(event)) yield event
}

async function* renamed(events: AsyncIterable<VMEvent>, driver: string): AsyncGenerator<VMEvent> {
  for await (const event of events) yield { ...event, driver }
}
