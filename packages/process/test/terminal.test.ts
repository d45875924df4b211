import { describe, expect, it } from 'vitest'
import { bench, ctx } from './tools.js'

const SIZES = ['sh', '-c', 'until [ "$(stty size)" = "37 93" ]; do sleep 0.01; done; sleep 0.2; stty size']

/** Every byte of it. */
async function textOf(output: AsyncIterable<{ data: Uint8Array }>): Promise<string> {
  let text = ''
  for await (const { data } of output) text += Buffer.from(data).toString()
  return text.trim()
}

// A size that came before the first one would be undone by it: several rounds, for it was a matter of luck.
describe('a terminal that is resized at once', () => {
  it('keeps the new size in a machine', async () => {
    await using machines = bench()
    for (let round = 0; round < 5; round++) {
      const id = await machines.start(SIZES, { tty: true, stdin: true })
      const session = await machines.driver.attach(id, ctx)
      await session.resize({ columns: 93, rows: 37 })
      expect(await textOf(session.output)).toBe('37 93')
      await session.close()
    }
  })

  it('keeps the new size in a command', async () => {
    await using machines = bench()
    const id = await machines.start(['sleep', '1000'])
    for (let round = 0; round < 5; round++) {
      const command = { command: SIZES, env: {}, tty: { columns: 80, rows: 24 }, stdin: false }
      const session = await machines.driver.execStream(id, command, ctx)
      await session.resize({ columns: 93, rows: 37 })
      expect(await textOf(session.output)).toBe('37 93')
      expect(await session.wait()).toEqual({ exitCode: 0, signal: null })
    }
  })
})
