import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type ErrorCode, VMKitError } from '@vmkit/core'
import type { ChildDriver } from './options.js'
import { within } from './waiting.js'

/** What a child can be asked for; see child.ts. */
export type ChildRequest =
  | { op: 'create'; config: unknown; onDispose?: 'delete' | 'stop' | 'detach' }
  | { op: 'start' | 'stop' | 'delete' | 'status' | 'info' | 'wait' | 'exec' | 'use'; vm: string; command?: readonly string[] }
  | { op: 'list' | 'sweep' | 'close' }

interface Answer {
  id: number
  value?: unknown
  error?: { code: ErrorCode; message: string }
  ready?: boolean
}

/** Another process with the same driver. */
export interface Child {
  readonly pid: number
  /** The answer; rejects with the child's error, or with `lost` when the child ends first. */
  ask<T = unknown>(request: ChildRequest): Promise<T>
  /** SIGKILL: it has no chance to clean up. Resolves when it is gone. */
  crash(): Promise<void>
  /** Nothing more will be asked: resolves with its exit code when it has ended by itself. */
  finish(): Promise<number | null>
  /** Ends it in whatever way works. */
  end(): Promise<void>
}

const LOST = 'the child process ended before it answered'

export async function startChild(driver: ChildDriver, limitMs: number): Promise<Child> {
  const { NODE_EXTRA_CA_CERTS: _certificates, NODE_OPTIONS: _options, ...env } = process.env
  const program = fileURLToPath(new URL('./child.js', import.meta.url))
  const child = spawn(process.execPath, [program, JSON.stringify(driver)], { env, stdio: ['pipe', 'pipe', 'pipe'] })
  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: unknown): void }>()
  let errors = ''
  let requests = 0
  const exited = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)))
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text
  })
  child.stdin.on('error', () => {}) // it may be gone already; `exited` tells
  const ready = new Promise<void>((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const answer = JSON.parse(line) as Answer
      if (answer.ready) return resolve()
      const caller = waiting.get(answer.id)
      waiting.delete(answer.id)
      if (answer.error) caller?.reject(new VMKitError(answer.error.code, answer.error.message))
      else caller?.resolve(answer.value)
    })
    void exited.then(() => reject(new Error(`The child process ended at its start: ${errors}`)))
  })
  void exited.then(() => {
    for (const { reject } of waiting.values()) reject(new Error(`${LOST}: ${errors}`))
  })

  async function end(): Promise<void> {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await exited
  }

  try {
    await within(limitMs, 'the start of a child process', ready)
  } catch (error) {
    await end()
    throw error
  }
  return {
    pid: child.pid as number,
    ask<T>(request: ChildRequest) {
      const id = ++requests
      const answer = new Promise<unknown>((resolve, reject) => waiting.set(id, { resolve, reject }))
      answer.catch(() => {}) // a caller that was itself given up does not listen
      child.stdin.write(`${JSON.stringify({ id, ...request })}\n`)
      return answer as Promise<T>
    },
    crash: end,
    async finish() {
      child.stdin.end()
      return within(limitMs, 'the end of a child process that has nothing left to do', exited)
    },
    end,
  }
}
