/** The frames of a port of the vmkit guest; `guest/src/sessions.c` is the other end. Pure. */

/** What the host sends. */
export const TO_GUEST = { hello: 1, start: 2, input: 3, inputEnd: 4, kill: 5, resize: 6, credit: 7, request: 8, attach: 9 } as const
/** What the guest sends. */
export const FROM_GUEST = { welcome: 1, started: 2, failed: 3, output: 4, exit: 5, more: 6, answer: 7, closed: 8 } as const

export interface Frame {
  type: number
  /** 0 stdout, 1 stderr. */
  stream: number
  session: number
  payload: Buffer
}

/** "VMK1", little-endian. */
const MAGIC = 0x314b4d56
const HEADER = 16
/** Most bytes of a payload; the guest takes no more. */
export const LARGEST_PAYLOAD = 65536

export function encodeFrame(type: number, session: number, payload: Uint8Array = new Uint8Array(), stream = 0): Buffer {
  const frame = Buffer.alloc(HEADER + payload.length)
  frame.writeUInt32LE(MAGIC, 0)
  frame.writeUInt8(type, 4)
  frame.writeUInt8(stream, 5)
  frame.writeUInt32LE(session, 8)
  frame.writeUInt32LE(payload.length, 12)
  frame.set(payload, HEADER)
  return frame
}

/** Takes the bytes of a port piece by piece. What begins no frame, such as the rest of one for an earlier client, is skipped. */
export function frameReader(each: (frame: Frame) => void): (chunk: Buffer) => void {
  let pending: Buffer = Buffer.alloc(0)
  return (chunk) => {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk])
    let at = 0
    while (pending.length - at >= HEADER) {
      const length = pending.readUInt32LE(at + 12)
      if (pending.readUInt32LE(at) !== MAGIC || length > LARGEST_PAYLOAD) {
        at += 1
        continue
      }
      if (pending.length - at - HEADER < length) break
      const payload = pending.subarray(at + HEADER, at + HEADER + length)
      each({ type: pending.readUInt8(at + 4), stream: pending.readUInt8(at + 5), session: pending.readUInt32LE(at + 8), payload })
      at += HEADER + length
    }
    pending = pending.subarray(at)
  }
}
