import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { encodeFrame, type Frame, frameReader } from './frames.js'
import { recordsToTar, tarToRecords } from './tar-records.js'
import { encodeRecord, readRecords } from './tree-records.js'

describe('frames', () => {
  it('come out of any pieces, and what an earlier client left is skipped', () => {
    const bytes = Buffer.concat([Buffer.from('rest of a frame'), encodeFrame(4, 7, Buffer.from('hello'), 1), encodeFrame(5, 7)])
    for (const size of [1, 3, bytes.length]) {
      const frames: Frame[] = []
      const read = frameReader((frame) => frames.push({ ...frame, payload: Buffer.from(frame.payload) }))
      for (let at = 0; at < bytes.length; at += size) read(bytes.subarray(at, at + size))
      expect(frames.map(({ type, stream, session, payload }) => [type, stream, session, payload.toString()])).toEqual([
        [4, 1, 7, 'hello'],
        [5, 0, 7, ''],
      ])
    }
  })
})

describe('records of a tree', () => {
  const file = { kind: 'f', name: 'a\nb', target: '', mode: 0o640, uid: 1, gid: 2, size: 5, modifiedAt: 1000 }

  it('become a tar and come back', async () => {
    const bytes = [encodeRecord({ ...file, kind: 'd', name: '', size: 0 }), encodeRecord(file), Buffer.from('hello')]
    const tar = recordsToTar(readRecords(Readable.from(bytes), true), 'x')
    const back: [string, string, number, string][] = []
    for await (const { kind, name, mode, content } of readRecords(tarToRecords(tar), true)) {
      const chunks: Uint8Array[] = []
      for await (const chunk of content) chunks.push(chunk)
      back.push([kind, name, mode, Buffer.concat(chunks).toString()])
    }
    expect(back).toEqual([
      ['d', '', 0o640, ''],
      ['f', 'a\nb', 0o640, 'hello'],
    ])
  })

  it('that leave the folder are refused, and so is half a record', async () => {
    const { pack } = (await import('tar-stream')).default
    for (const name of ['../out', '/etc/passwd', 'a/../../b']) {
      const tar = pack()
      tar.entry({ name }, 'x')
      tar.finalize()
      await expect(all(tarToRecords(tar as AsyncIterable<Uint8Array>))).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
    }
    await expect(all(readRecords(Readable.from([Buffer.from('f 644 0 0 0 9\0name')]), false))).rejects.toMatchObject({
      code: 'GUEST_ERROR',
    })
  })
})

async function all<T>(values: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const value of values) found.push(value)
  return found
}
