const NEWLINE = 0x0a
const CARRIAGE_RETURN = 0x0d
const LONGEST_LINE = 64 * 1024

export interface Line {
  text: string
  /** Bytes of the stream up to and with this line: where to go on. */
  end: number
  /** The line was longer than the longest; its next part follows. */
  partial: boolean
}

export interface LineSplitter {
  push(data: Uint8Array): Line[]
  /** The last line, when the stream ended without a newline. */
  end(): Line[]
}

/**
 * Bytes in, lines out. UTF-8 that is split between two chunks is put together; a line over 64 KiB comes in parts, cut
 * between characters; what is no UTF-8 becomes U+FFFD. `\n` and `\r\n` both end a line.
 */
export function lineSplitter(start = 0, longest = LONGEST_LINE): LineSplitter {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  let rest: Uint8Array = new Uint8Array(0)
  let offset = start

  function take(bytes: Uint8Array, partial: boolean, terminator: number): Line {
    offset += bytes.length + terminator
    const hasReturn = terminator > 0 && bytes[bytes.length - 1] === CARRIAGE_RETURN
    return { text: decoder.decode(hasReturn ? bytes.subarray(0, -1) : bytes), end: offset, partial }
  }

  return {
    push(data) {
      const lines: Line[] = []
      let bytes = rest.length === 0 ? data : concat(rest, data)
      for (;;) {
        const newline = bytes.indexOf(NEWLINE)
        if (newline >= 0 && newline <= longest) {
          lines.push(take(bytes.subarray(0, newline), false, 1))
          bytes = bytes.subarray(newline + 1)
        } else if (bytes.length > longest) {
          const cut = characterBoundary(bytes, longest)
          lines.push(take(bytes.subarray(0, cut), true, 0))
          bytes = bytes.subarray(cut)
        } else {
          break
        }
      }
      rest = bytes.slice()
      return lines
    },
    end() {
      if (rest.length === 0) return []
      const line = take(rest, false, 0)
      rest = new Uint8Array(0)
      return [line]
    },
  }
}

/** The last place at or before `index` where no UTF-8 character is cut (RFC 3629: continuation bytes are 10xxxxxx). */
function characterBoundary(bytes: Uint8Array, index: number): number {
  let cut = index
  while (cut > index - 4 && cut > 0 && ((bytes[cut] as number) & 0xc0) === 0x80) cut -= 1
  return cut > index - 4 && cut > 0 ? cut : index
}

function concat(left: Uint8Array, right: Uint8Array): Uint8Array {
  const both = new Uint8Array(left.length + right.length)
  both.set(left)
  both.set(right, left.length)
  return both
}
