import { type ConformanceOptions, conformance, type Report } from '@vmkit/conformance'
import { createManager } from '@vmkit/core'
import { type MockBackend, type MockDriver, mock, mockBackend } from '@vmkit/mock/driver'
import { miniRunner, type Outcome } from './mini-runner.js'
import { work, workCommand } from './programs.js'

export type Break = (driver: MockDriver, backend: MockBackend) => Partial<MockDriver>

/** Runs the kit over the mock driver, after `spoil` has changed it. */
export async function runKit(spoil: Break, options: Partial<ConformanceOptions> = {}): Promise<Outcome & { report: Report; text: string }> {
  const backend = mockBackend({ programs: { work }, registry: ['example.com/kit:1'] })
  const { runner, run } = miniRunner()
  let text = ''
  const report = conformance({
    runner,
    createDriver() {
      const driver = mock({ backend })
      return { ...driver, ...spoil(driver, backend) }
    },
    machine: (workload) => ({ command: workCommand(workload) }),
    command: workCommand,
    disrupt: { down: async () => backend.disconnect(), up: async () => backend.reconnect() },
    images: { reference: 'example.com/kit:1', missing: 'example.com/none:1', archive },
    createTarget: () => mock({ programs: { work } }),
    device: { type: 'cdi', name: 'vendor.com/gpu=0' },
    // Broken drivers make tests wait for what never comes.
    patience: 0.2,
    print: (line) => {
      text += `${line}\n`
    },
    ...options,
  })
  return { ...(await run()), report, text }
}

async function* archive(): AsyncGenerator<Uint8Array> {
  await using manager = createManager({ drivers: { mock: mock({ registry: ['example.com/kit:2'] }) } })
  const { images } = manager.driver('mock')
  yield* images.export((await images.pull('example.com/kit:2')).reference)
}
