import { describe, expect, it } from 'vitest'
import { frames } from './frames.js'
import { followProgress, jsonLines } from './progress.js'

async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const value of source) found.push(value)
  return found
}

function frame(stream: number, text: string): Buffer {
  const header = Buffer.from([stream, 0, 0, 0, 0, 0, 0, 0])
  header.writeUInt32BE(Buffer.byteLength(text), 4)
  return Buffer.concat([header, Buffer.from(text)])
}

describe('multiplexed stream', () => {
  const bytes = Buffer.concat([frame(1, 'out'), frame(2, 'ü'), frame(1, ''), frame(1, 'end')])
  it.each([1, 3, 8, 100])('comes apart when it is cut every %i bytes', async (size) => {
    const found = (await all(frames(pieces(bytes, size)))).map(({ source, data }) => [source, Buffer.from(data).toString()])
    expect(found).toEqual([
      ['stdout', 'out'],
      ['stderr', 'ü'],
      ['stdout', ''],
      ['stdout', 'end'],
    ])
  })
})

describe('progress stream', () => {
  const ctx = () => {
    const reports: unknown[] = []
    return {
      reports,
      signal: new AbortController().signal,
      deadline: undefined,
      report: (progress: unknown) => void reports.push(progress),
    }
  }

  it('puts split JSON together', async () => {
    expect(await all(jsonLines(pieces(Buffer.from('{"a":"ü"}\r\n{"b":1}'), 2)))).toEqual([{ a: 'ü' }, { b: 1 }])
  })

  it('reports each layer, typed', async () => {
    const context = ctx()
    await followProgress(
      pieces(Buffer.from('{"status":"Downloading","id":"abc","progressDetail":{"current":5,"total":10}}\n'), 9),
      'pull',
      'x',
      context,
    )
    expect(context.reports).toEqual([{ phase: 'download', message: 'Downloading', item: 'abc', current: 5, total: 10, unit: 'bytes' }])
  })

  it('raises an error inside the stream, which comes after a 200', async () => {
    const text = '{"status":"Pulling"}\n{"errorDetail":{"message":"manifest unknown"},"error":"manifest unknown"}\n'
    await expect(followProgress(pieces(Buffer.from(text), 7), 'pull', 'x', ctx())).rejects.toMatchObject({
      code: 'IMAGE_NOT_FOUND',
      message: 'manifest unknown',
    })
  })

  it('takes a stream that breaks off for a failure', async () => {
    await expect(followProgress(pieces(Buffer.from('{"status":"Pul'), 5), 'pull', 'x', ctx())).rejects.toMatchObject({
      code: 'BACKEND_ERROR',
    })
  })
})
