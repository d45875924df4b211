import { spawnSync } from 'node:child_process'
import type { Sampler } from './interleave.js'

// A list of what may pass, not of what may not: NODE_OPTIONS, NODE_EXTRA_CA_CERTS (49 ms), loaders and coverage all weigh on
// the start of Node, and the next version may read another variable.
const PASSED = ['PATH', 'HOME', 'TMPDIR', 'LANG']

export function lightEnvironment(from: Readonly<NodeJS.ProcessEnv> = process.env): NodeJS.ProcessEnv {
  return Object.fromEntries(PASSED.flatMap((name) => (from[name] === undefined ? [] : [[name, from[name]]])))
}

/** Milliseconds from spawn to exit of a Node that runs this module; the empty text is bare Node. */
export function nodeTime(script: string, cwd: string): Sampler {
  const args = script === '' ? ['-e', ''] : ['--input-type=module', '-e', script]
  return () => {
    const started = performance.now()
    runNode(args, cwd)
    return performance.now() - started
  }
}

/** Bytes of heap that a Node holds after this module has run and all garbage is collected. */
export function nodeHeap(script: string, cwd: string): Sampler {
  // The first collection may leave what finalisers and weak references hold until the next turn.
  const measure = `for (let turn = 0; turn < 3; turn += 1) { await new Promise(setImmediate); gc() }
process.stdout.write(String(process.memoryUsage().heapUsed))`
  const args = ['--expose-gc', '--input-type=module', '-e', `${script}\n${measure}`]
  return () => Number(runNode(args, cwd))
}

/** What a Node has written when this module has run: a number. */
export function nodeNumber(script: string, cwd: string): Sampler {
  return () => Number(runNode(['--input-type=module', '-e', script], cwd))
}

function runNode(args: readonly string[], cwd: string): string {
  const { status, signal, error, stdout, stderr } = spawnSync(process.execPath, args, { cwd, env: lightEnvironment(), encoding: 'utf8' })
  if (error) throw error
  if (status !== 0) throw new Error(`node ${args.join(' ')} ended with ${signal ?? status}:\n${stderr}`)
  return stdout
}
