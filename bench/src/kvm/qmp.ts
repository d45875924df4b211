import { createConnection, type Socket } from 'node:net'

/** The least that speaks to QEMU: one connection, one command at a time. */
export async function bareQmp(path: string): Promise<{ execute(command: string, args?: object): Promise<unknown>; close(): void }> {
  const socket = await connect(path)
  let text = ''
  const waiting: ((answer: { return?: unknown; error?: unknown }) => void)[] = []
  let greet = (): void => {}
  const greeted = new Promise<void>((resolve) => {
    greet = resolve
  })
  socket.on('data', (data) => {
    text += String(data)
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      const message = JSON.parse(text.slice(0, end)) as { QMP?: object; event?: string; return?: unknown; error?: unknown }
      text = text.slice(end + 1)
      if (message.QMP) greet()
      else if (message.event === undefined) waiting.shift()?.(message)
    }
  })
  const execute = async (command: string, args?: object): Promise<unknown> => {
    const answer = new Promise<{ return?: unknown; error?: unknown }>((resolve) => waiting.push(resolve))
    socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`)
    const { return: value, error } = await answer
    if (error) throw new Error(`${command}: ${JSON.stringify(error)}`)
    return value
  }
  await greeted
  await execute('qmp_capabilities')
  return { execute, close: () => void socket.destroy() }
}

async function connect(path: string): Promise<Socket> {
  for (;;) {
    const socket = createConnection(path)
    const isUp = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true))
      socket.once('error', () => resolve(false))
    })
    if (isUp) return socket
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}
