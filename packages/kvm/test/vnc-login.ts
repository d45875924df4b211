import { createCipheriv } from 'node:crypto'
import { createConnection } from 'node:net'

/** Logs in as a VNC client does, and leaves: RFC 6143, 7.1 and 7.2.2. */
export async function vncLogin(socketPath: string, password: string): Promise<{ offered: number[]; isIn: boolean }> {
  const socket = createConnection({ path: socketPath })
  const incoming = socket.iterator({ destroyOnReturn: false })
  let held = Buffer.alloc(0)
  async function take(length: number): Promise<Buffer> {
    while (held.length < length) {
      const { value, done } = await incoming.next()
      if (done) throw new Error(`The VNC server hung up after ${held.length} of ${length} bytes`)
      held = Buffer.concat([held, value as Buffer])
    }
    const taken = held.subarray(0, length)
    held = held.subarray(length)
    return taken
  }
  try {
    socket.write(await take('RFB 003.008\n'.length))
    const [count = 0] = await take(1)
    const offered = [...(await take(count))]
    socket.write(Buffer.of(2))
    socket.write(answer(await take(16), password))
    return { offered, isIn: (await take(4)).readUInt32BE() === 0 }
  } finally {
    socket.destroy()
  }
}

/** DES of the challenge, by the password with the bits of each byte in reverse. Three times the same key makes DES of triple DES. */
function answer(challenge: Buffer, password: string): Buffer {
  const key = Buffer.alloc(8)
  for (const [index, byte] of Buffer.from(password).subarray(0, key.length).entries()) key[index] = reversed(byte)
  const cipher = createCipheriv('des-ede3-ecb', Buffer.concat([key, key, key]), null).setAutoPadding(false)
  return Buffer.concat([cipher.update(challenge), cipher.final()])
}

function reversed(byte: number): number {
  return Number.parseInt([...byte.toString(2).padStart(8, '0')].reverse().join(''), 2)
}
