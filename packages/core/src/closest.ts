/** Edits that a word may be away from what was meant: one in each three letters, at most three. */
const limitOf = (word: string): number => Math.min(3, Math.max(1, Math.floor(word.length / 3)))
/** From this length on a beginning is enough, such as `mem` of `memory`. */
const BEGINNING = 3

/** Which of the known words somebody most likely meant who wrote this one; `undefined` when none is close. */
export function closest(word: string, known: Iterable<string>): string | undefined {
  const written = word.toLowerCase()
  let best: { name: string; distance: number } | undefined
  for (const name of known) {
    const distance = distanceOf(written, name.toLowerCase())
    if (distance !== undefined && distance < (best?.distance ?? Number.POSITIVE_INFINITY)) best = { name, distance }
  }
  return best?.name
}

function distanceOf(written: string, name: string): number | undefined {
  const limit = limitOf(name)
  // What is much longer or shorter is no slip, and hostile input may be of any length.
  const edits = Math.abs(written.length - name.length) <= limit ? edited(written, name) : Number.POSITIVE_INFINITY
  if (edits <= limit) return edits
  const [shorter, longer] = written.length < name.length ? [written, name] : [name, written]
  return shorter.length >= BEGINNING && longer.startsWith(shorter) ? limit + 1 : undefined
}

/**
 * How many letters are missing, too many, wrong, or swapped with their neighbour: the optimal string alignment distance
 * (L. Boytsov, "Indexing methods for approximate dictionary searching", 2011, section 2.2).
 */
function edited(from: string, to: string): number {
  let before: number[] = []
  let above = Array.from({ length: to.length + 1 }, (_, column) => column)
  for (let row = 1; row <= from.length; row += 1) {
    const current = [row]
    for (let column = 1; column <= to.length; column += 1) {
      const isSame = from[row - 1] === to[column - 1]
      const isSwap = row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1]
      current[column] = Math.min(
        (above[column] as number) + 1,
        (current[column - 1] as number) + 1,
        (above[column - 1] as number) + (isSame ? 0 : 1),
        isSwap ? (before[column - 2] as number) + 1 : Number.POSITIVE_INFINITY,
      )
    }
    before = above
    above = current
  }
  return above[to.length] as number
}
