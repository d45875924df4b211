import type { Workload } from '@vmkit/conformance'
import type { Program, ProgramIO } from '@vmkit/mock/driver'

/** Process ids of mock programs that still run. */
const alive = new Set<number>()
let lastPid = 100

function forget(pids: readonly number[]): void {
  for (const pid of pids) alive.delete(pid)
}

function until(io: ProgramIO): Promise<number> {
  return new Promise((resolve) => {
    io.onSignal('SIGTERM', () => resolve(0))
    io.killed.addEventListener('abort', () => resolve(0), { once: true })
  })
}

function forever(io: ProgramIO): Promise<number> {
  io.onSignal('SIGTERM', () => {})
  return new Promise((resolve) => io.killed.addEventListener('abort', () => resolve(0), { once: true }))
}

/** The kit's workloads as one program of the mock driver: its arguments are the workload as JSON, then the values of `args`. */
export const work: Program = async (io) => {
  const workload = JSON.parse(io.argv[1] as string) as Workload
  switch (workload.does) {
    case 'idle':
      return until(io)
    case 'exit':
      if (workload.afterMs) await io.sleep(workload.afterMs)
      return workload.code
    case 'print':
      if (workload.stdout) await io.stdout.write(workload.stdout)
      if (workload.stderr) await io.stderr.write(workload.stderr)
      return workload.idles ? until(io) : (workload.code ?? 0)
    case 'pieces':
      for (const piece of workload.bytes) {
        await io.stdout.write(Uint8Array.from(piece))
        await io.sleep(2)
      }
      return 0
    case 'stubborn': {
      const end = forever(io)
      await io.stdout.write('ready\n')
      return end
    }
    case 'tree': {
      const pids = [++lastPid, ++lastPid, ++lastPid]
      for (const pid of pids) alive.add(pid)
      io.killed.addEventListener('abort', () => forget(pids), { once: true })
      const end = forever(io)
      await io.stdout.write(`${pids.join(' ')}\n`)
      return end
    }
    case 'alive':
      return workload.pids.some((pid) => alive.has(pid)) ? 0 : 1
    case 'flood':
      for (let left = workload.bytes; left > 0; left -= 100) await io.stdout.write(`${'x'.repeat(Math.min(left, 100) - 1)}\n`)
      return 0
    case 'tick': {
      let over = false
      io.onSignal('SIGTERM', () => {
        over = true
      })
      for (let i = 1; !over; i += 1) {
        await io.stdout.write(`tick ${i}\n`)
        await io.sleep(workload.everyMs)
      }
      return 0
    }
    case 'serve':
      io.listen(workload.port, (socket) => socket.end('hello\n'))
      return until(io)
    case 'echo':
      for await (const chunk of io.stdin) await io.stdout.write(chunk)
      return 0
    case 'env':
      await io.stdout.write(io.env[workload.name] ?? '')
      return 0
    case 'args':
      for (const value of io.argv.slice(2)) await io.stdout.write(`${value}\0`)
      return 0
    case 'pwd':
      await io.stdout.write(`${io.workdir}\n`)
      return 0
    case 'size': {
      const show = (): void => {
        const size = io.terminal()
        void io.stdout.write(`${size?.columns} ${size?.rows}\n`)
      }
      io.onSignal('SIGWINCH', show)
      const end = until(io)
      show()
      return end
    }
    case 'die':
      io.raise(workload.signal)
      return 99
    case 'hog':
      for (;;) {
        io.allocate(2 ** 20)
        await io.sleep(1)
      }
  }
}

export function workCommand(workload: Workload): string[] {
  return ['work', JSON.stringify(workload), ...(workload.does === 'args' ? workload.values : [])]
}
