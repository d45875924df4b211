import type { Reader } from './fifo-streams.js'

/** A child that the command left keeps the streams open, and would keep the reader waiting. */
const LINGER_MS = 100
/** 2 s, as long as the shim itself waits for streams that do not end (`waitTimeout` in containerd's pkg/process/exec.go). */
const MOST_LOOKS = 20

interface Watch {
  /** Whether something that the command started is still there, and may keep the streams open. */
  hasChildren(): Promise<boolean>
  /** Called, again and again, while the one who reads takes no more. */
  onHeldUp?(): void
}

/**
 * After the end of a command: resolves when everything is read, or when nothing has come for a while and a child keeps the streams open.
 * When nobody does, the shim is late: what it has yet to copy is waited for, and so is a slow reader. Looks are counted, not time: while
 * this host or this program stands still, nothing can come.
 */
export async function drained(
  readers: readonly Pick<Reader, 'ended' | 'lastAt' | 'isHeldUp'>[],
  { hasChildren, onHeldUp }: Watch,
): Promise<void> {
  let isOver = false
  const all = Promise.all(readers.map(({ ended }) => ended)).then(() => {
    isOver = true
  })
  const lastAt = (): number => Math.max(...readers.map((reader) => reader.lastAt()))
  let before = lastAt()
  for (let quiet = 0; ; quiet += 1) {
    const isHeldUp = readers.some((reader) => reader.isHeldUp())
    if (isHeldUp) onHeldUp?.()
    if (isHeldUp || lastAt() !== before) quiet = 0
    before = lastAt()
    if (quiet >= MOST_LOOKS || (quiet > 0 && (await hasChildren()))) return
    await within(LINGER_MS, all)
    // What lies there since is read before the next look.
    if (!isOver) await new Promise((resolve) => setImmediate(resolve))
    if (isOver) return
  }
}

async function within(ms: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const pause = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  await Promise.race([work, pause])
  clearTimeout(timer)
}
