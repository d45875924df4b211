import type { Workload } from '@vmkit/conformance'
import type { Program, ProgramIO } from '../src/driver.js'

/** The kit's workloads, as a program: its one argument is the workload as JSON. */
export const workload: Program = async (io) => {
  const work = JSON.parse(io.argv[1] as string) as Workload
  switch (work.does) {
    case 'idle':
      return idle(io)
    case 'exit':
      await io.sleep(work.afterMs ?? 0)
      return work.code
    case 'print':
      await io.stdout.write(work.stdout ?? '')
      await io.stderr.write(work.stderr ?? '')
      return work.idles ? idle(io) : (work.code ?? 0)
    case 'pieces':
      for (const bytes of work.bytes) {
        await io.stdout.write(Uint8Array.from(bytes))
        await io.sleep(5)
      }
      return 0
    case 'stubborn':
      io.onSignal('SIGTERM', () => {})
      await io.stdout.write('ready\n')
      return forever(io)
    case 'flood':
      for (let written = 0; written < work.bytes; written += 100) await io.stdout.write(`${'x'.repeat(99)}\n`)
      return 0
    case 'tick':
      io.onSignal('SIGTERM', () => finish(io))
      for (let n = 1; !finished(io); n += 1) {
        await io.stdout.write(`tick ${n}\n`)
        await io.sleep(work.everyMs)
      }
      return 0
    case 'serve':
      io.listen(work.port, (socket) => socket.end('hello\n'))
      return idle(io)
    case 'echo':
      for await (const chunk of io.stdin) await io.stdout.write(chunk)
      return 0
    case 'env':
      return io.stdout.write(io.env[work.name] ?? '')
    case 'args':
      return io.stdout.write(work.values.map((value) => `${value}\0`).join(''))
    case 'pwd':
      return io.stdout.write(`${io.workdir}\n`)
    case 'size': {
      const tell = (): Promise<void> => io.stdout.write(`${io.terminal()?.columns} ${io.terminal()?.rows}\n`)
      io.onSignal('SIGWINCH', () => void tell())
      await tell()
      return idle(io)
    }
    case 'die':
      return io.raise(work.signal)
    case 'hog':
      for (;;) {
        io.allocate(2 ** 20)
        await io.sleep(0)
      }
    default:
      throw new Error(`no such work: ${work.does}`)
  }
}

const done = new WeakSet<ProgramIO>()

function finish(io: ProgramIO): void {
  done.add(io)
}

function finished(io: ProgramIO): boolean {
  return done.has(io)
}

async function idle(io: ProgramIO): Promise<number> {
  return new Promise((resolve) => io.onSignal('SIGTERM', () => resolve(0)))
}

async function forever(io: ProgramIO): Promise<never> {
  for (;;) await io.sleep(60_000)
}
