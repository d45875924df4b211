import { CAPABILITIES, type Capability } from '../capabilities.js'
import { refusedField } from '../config/refuse.js'
import type { MachineConfig } from '../config/types.js'
import type { CallContext, HostProbe, VMDriver } from '../driver.js'
import { VMKitError } from '../errors.js'
import type { Missing } from '../machine.js'
import { driversWith } from '../registry.js'
import { type CallOptions, type OperationInfo, runOperation } from './operation.js'
import { abortable } from './timer.js'

type Why = Partial<OperationInfo> & { field?: string; machine?: Missing }

/** What a driver can do on this host. */
export class Host {
  readonly #driver: VMDriver
  readonly #name: string
  readonly #ask: (probe: (ctx: CallContext) => Promise<HostProbe>) => Promise<HostProbe>
  #asking: Promise<HostProbe> | undefined
  #known: HostProbe | undefined

  /** `name` is what the app calls the driver; `ask` runs a probe as any other call to it. */
  constructor(driver: VMDriver, name: string, ask: (probe: (ctx: CallContext) => Promise<HostProbe>) => Promise<HostProbe>) {
    this.#driver = driver
    this.#name = name
    this.#ask = ask
  }

  /** The last probe, for what must be synchronous. Every way to a handle has probed before. */
  get known(): HostProbe | undefined {
    return this.#known
  }

  /** What this host allows; asked once, and again while it says that the backend is not there. */
  async probe(options: CallOptions & { refresh?: boolean } = {}): Promise<HostProbe> {
    if (this.#known?.available && !options.refresh) return this.#known
    // Concurrent callers share one probe, so it does not listen to any one's signal; each waits as long as it wants.
    const shared = this.#sharedProbe()
    if (options.signal === undefined && options.timeoutMs === undefined) return shared
    const timeoutMs = options.timeoutMs ?? Number.POSITIVE_INFINITY
    return runOperation({ driver: this.#name, operation: 'probe' }, { signal: options.signal, timeoutMs }, (ctx) =>
      abortable(shared, ctx.signal),
    )
  }

  #sharedProbe(): Promise<HostProbe> {
    if (!this.#asking) {
      this.#asking = this.#ask(async (ctx) => {
        this.#known = await this.#driver.probe(ctx)
        return this.#known
      }).finally(() => {
        this.#asking = undefined
      })
      // When all who asked have left, nobody hears of a failure.
      this.#asking.catch(() => {})
    }
    return this.#asking
  }

  /** @throws VMKitError the probe's code, by default `BACKEND_UNAVAILABLE`, with everything that was tried */
  async requireAvailable({ timeoutMs, signal }: CallOptions = {}): Promise<void> {
    const probe = await this.probe({ timeoutMs, signal })
    if (probe.available) return
    const { name } = this.#driver
    const { code = 'BACKEND_UNAVAILABLE', reason = 'its backend does not answer', hint, field } = probe
    throw new VMKitError(code, `The ${name} driver cannot work on this host: ${reason}`, {
      driver: name,
      hint,
      field,
      ...(probe.tried ? { evidence: { tried: probe.tried } } : {}),
    })
  }

  /** Why a capability is missing, for the host or for one machine; `undefined` when it is there. */
  missingReason(capability: Capability, machine?: Missing): string | undefined {
    const { name, capabilities } = this.#driver
    const reason = this.#known?.missing[capability] ?? machine?.[capability]
    if (!capabilities[capability]) return reason ?? `the ${name} driver does not have it`
    return reason
  }

  /** Every capability that is not there, with the reason. */
  missing(machine?: Missing): Missing {
    const entries = CAPABILITIES.map((capability) => [capability, this.missingReason(capability, machine)] as const)
    return Object.fromEntries(entries.filter(([, reason]) => reason !== undefined))
  }

  /** @throws VMKitError `UNSUPPORTED` with the reason, and who could do it */
  require(capability: Capability, why: Why = {}): void {
    const error = this.#unsupported(capability, why)
    if (error) throw error
  }

  /** @throws VMKitError `UNSUPPORTED` for the first field that nothing here would honour */
  refuseFields(given: Readonly<Record<string, unknown>>, parsed: MachineConfig): void {
    const error = refusedField(given, parsed, this.#driver, (capability, field) =>
      capability ? this.#unsupported(capability, { operation: 'create', field: `config.${field}` }) : fieldError(this.#driver.name, field),
    )
    if (error) throw error
  }

  #unsupported(capability: Capability, { machine, ...details }: Why): VMKitError | undefined {
    const reason = this.missingReason(capability, machine)
    if (reason === undefined) return undefined
    const { name } = this.#driver
    const others = driversWith(capability).filter((other) => other !== name)
    const what = details.field ? `honour \`${details.field}\`, which needs \`${capability}\`` : `do \`${capability}\``
    return new VMKitError('UNSUPPORTED', `The ${name} driver cannot ${what} here: ${reason}`, {
      driver: name,
      capability,
      ...details,
      hint:
        others.length > 0
          ? `Registered drivers that have \`${capability}\`: ${others.join(', ')}`
          : `No other registered driver has \`${capability}\``,
    })
  }
}

function fieldError(driver: string, field: string): VMKitError {
  return new VMKitError('UNSUPPORTED', `The ${driver} driver does not honour \`config.${field}\``, {
    driver,
    operation: 'create',
    field: `config.${field}`,
    hint: 'Leave the field out, or use a driver that honours it',
  })
}
