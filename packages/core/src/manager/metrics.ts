import type { CallContext, MetricsReading } from '../driver.js'
import { VMKitError } from '../errors.js'
import type { VMMetrics } from '../machine.js'
import type { Backend } from './backend.js'
import { pause } from './timer.js'

/** What the driver left out is unknown. */
export function complete(reading: MetricsReading): VMMetrics {
  return {
    at: Date.now(),
    cpu: { usageMs: null, userMs: null, systemMs: null },
    memory: { usedBytes: null, limitBytes: null },
    pids: null,
    network: null,
    disk: null,
    ...reading,
  }
}

/** A reading every so often, until the machine ends. */
export async function* readings({ driver }: Backend, id: string, intervalMs: number, ctx: CallContext): AsyncGenerator<VMMetrics> {
  for (;;) {
    const { state } = await driver.getStatus(id, ctx)
    if (state !== 'running' && state !== 'paused') return
    try {
      yield complete(await driver.getMetrics(id, ctx))
    } catch (error) {
      // It ended between the two questions.
      if (error instanceof VMKitError && error.code === 'INVALID_STATE') return
      throw error
    }
    await pause(intervalMs, ctx.signal)
  }
}
