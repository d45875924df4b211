import { fileURLToPath } from 'node:url'
import type { VMConfig } from '@vmkit/core'
import { nodeHeap, nodeTime } from './child.js'
import type { Comparison } from './suite.js'
import { megabytes } from './units.js'

export interface DriverCosts {
  /** Name of the driver; its package is `@vmkit/<name>` in `packages/<name>`. */
  name: string
  /** What a job needs: the driver's options, and a machine whose main program ends by itself. */
  options?: unknown
  config: VMConfig
  /** The driver's client libraries that this job loads: their memory is their own. */
  libraries?: readonly string[]
  /** A module's text that makes them do what they do for the job: what they hold once they were used is their own as well. */
  useOfLibraries?: string
}

const IMPORT_MOST_MS = 15
const HEAP_MOST = megabytes(0.3)
const USED_HEAP_MOST = megabytes(0.5)

const IDLE_DRIVER = new URL('./idle-driver.mjs', import.meta.url).href

/** What a driver costs an app that has imported core: time to import it, memory before and after it did a job. */
export function driverCosts({ name, options = {}, config, libraries = [], useOfLibraries = '' }: DriverCosts): Comparison[] {
  // Children run in the driver's own folder, so that they resolve its libraries as it does.
  const cwd = packageFolder(name)
  const driver = `@vmkit/${name}`
  const core = importing('@vmkit/core')
  const text = JSON.stringify
  const job = (instance: string): string => `import { createManager } from '@vmkit/core'
const manager = createManager({ drivers: { [${text(name)}]: ${instance} } })
const vm = await manager.create(${text(config)}, { driver: ${text(name)} })
await vm.start(); await vm.wait(); await vm.delete(); await manager.close()`
  const idle = `import { idleDriver } from ${text(IDLE_DRIVER)}`
  return [
    {
      what: `import ${driver}`,
      against: 'import core',
      kind: 'process',
      unit: 'ms',
      ours: nodeTime(importing('@vmkit/core', driver), cwd),
      theirs: nodeTime(core, cwd),
      bar: { on: 'difference', most: IMPORT_MOST_MS },
    },
    {
      what: `heap of ${driver}`,
      against: 'core',
      kind: 'memory',
      unit: 'bytes',
      ours: nodeHeap(importing('@vmkit/core', driver), cwd),
      theirs: nodeHeap(core, cwd),
      bar: { on: 'difference', most: HEAP_MOST },
    },
    {
      what: `heap of ${driver} after a job`,
      against: ['idle driver', ...libraries].join(' + '),
      kind: 'memory',
      unit: 'bytes',
      ours: nodeHeap(`${importing('@vmkit/core', driver)}\n${job(text(options))}`, cwd),
      theirs: nodeHeap(
        `${importing('@vmkit/core', ...libraries)}\n${idle}\n${job(`idleDriver(${text(Object.keys(config))})`)}\n${useOfLibraries}`,
        cwd,
      ),
      bar: { on: 'difference', most: USED_HEAP_MOST },
    },
  ]
}

export function packageFolder(name: string): string {
  return fileURLToPath(new URL(`../../packages/${name}/`, import.meta.url))
}

/** A module that imports these and keeps what it got, as an app would. */
export function importing(...modules: readonly string[]): string {
  return [
    ...modules.map((module, index) => `import * as kept${index} from '${module}'`),
    `globalThis.kept = [${modules.map((_, index) => `kept${index}`)}]`,
  ].join('\n')
}
