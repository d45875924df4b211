import { conformance, shellCommand, type Workload } from '@vmkit/conformance'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { docker } from '../src/driver.js'
import { engineSocket, ensureImage, IMAGE, raw } from './engine.js'

const socketPath = engineSocket()
const options = socketPath === undefined ? {} : { socketPath }
if (socketPath !== undefined) await ensureImage(socketPath)

const LONGEST_ARGUMENT = 100_000

/** The kit's commands, but where busybox's nc wants other options, or Linux (MAX_ARG_STRLEN) takes no argument that long. */
function command(workload: Workload): string[] {
  if (workload.does === 'serve') return ['nc', '-ll', '-p', String(workload.port), '-e', '/bin/hello']
  if (workload.does === 'print' && (workload.stdout ?? '').length > LONGEST_ARGUMENT / 2) {
    const parts = workload.stdout?.match(/[^]{1,30000}/gu) ?? []
    return ['sh', '-c', 'for part; do printf %s "$part"; done', 'sh', ...parts]
  }
  return shellCommand(workload)
}

conformance({
  runner: { describe, it, before: beforeAll, after: afterAll },
  createDriver: () => docker(options),
  child: { module: new URL('../dist/driver.js', import.meta.url).href, export: 'docker', options },
  machine: (workload) => ({ image: IMAGE, pull: 'never', command: command(workload) }),
  command,
  async foreign() {
    const name = `kit-foreign-${process.pid}`
    const { body } = await raw(socketPath as string, 'POST', `/containers/create?name=${name}`, { Image: IMAGE, Cmd: ['sleep', '60'] })
    const { Id } = JSON.parse(body) as { Id: string }
    return { id: Id, name, remove: async () => void (await raw(socketPath as string, 'DELETE', `/containers/${Id}?force=1`)) }
  },
})
