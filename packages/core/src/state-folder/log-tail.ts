import type { LogFile } from './log-file.js'

/** Without times nobody knows the order between files: each gives the same share, and what one lacks the others add. */
export async function skipToTail(files: readonly LogFile[], tail: number): Promise<void> {
  const starts = await Promise.all(files.map((file) => file.lastLines(tail)))
  const sizes = await Promise.all(files.map((file) => file.size()))
  const shares = share(
    tail,
    starts.map(({ length }) => length),
  )
  for (const [index, file] of files.entries()) {
    const count = shares[index] as number
    file.seek(count === 0 ? (sizes[index] as number) : (starts[index]?.[count - 1] as number))
  }
}

/** Splits `total` over takers that want at most so much each, as evenly as it goes. */
export function share(total: number, wants: readonly number[]): number[] {
  const shares = wants.map(() => 0)
  let left = total
  for (let open = true; open && left > 0; ) {
    open = false
    for (const [index, want] of wants.entries()) {
      if ((shares[index] as number) >= want || left === 0) continue
      shares[index] = (shares[index] as number) + 1
      left -= 1
      open = true
    }
  }
  return shares
}
