import type { Reader } from './fifo-streams.js'

/** A child that the command left keeps the streams open, and would keep the reader waiting. */
const LINGER_MS = 100
/** As long as the shim itself waits for streams that do not end (`waitTimeout` in containerd's pkg/process/exec.go). */
const MOST_MS = 2000

interface Watch {
  /** Whether something that the command started is still there, and may keep the streams open. */
  hasChildren(): Promise<boolean>
  /** Called, again and again, while the one who reads takes no more. */
  onHeldUp?(): void
}

/**
 * After the end of a command: resolves when everything is read, or when nothing has come for a while and a child keeps the streams open.
 * When nobody does, the shim is late: what it has yet to copy is waited for, and so is a slow reader.
 */
export async function drained(
  readers: readonly Pick<Reader, 'ended' | 'lastAt' | 'isHeldUp'>[],
  { hasChildren, onHeldUp }: Watch,
): Promise<void> {
  const all = Promise.all(readers.map(({ ended }) => ended)).then(() => true)
  const endedAt = performance.now()
  for (;;) {
    const isHeldUp = readers.some((reader) => reader.isHeldUp())
    if (isHeldUp) onHeldUp?.()
    const quietFor = isHeldUp ? 0 : performance.now() - Math.max(endedAt, ...readers.map((reader) => reader.lastAt()))
    if (quietFor >= MOST_MS || (quietFor >= LINGER_MS && (await hasChildren()))) return
    let timer: NodeJS.Timeout | undefined
    const pause = new Promise<false>((resolve) => {
      timer = setTimeout(resolve, (quietFor < LINGER_MS ? LINGER_MS : MOST_MS) - quietFor, false)
    })
    const done = await Promise.race([all, pause])
    clearTimeout(timer)
    if (done) return
  }
}
