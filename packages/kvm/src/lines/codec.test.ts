import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { documentReader, encodeDocument } from './codec.js'

describe('documents, one a line', () => {
  it('come out whole, wherever the bytes were cut', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue(), { maxLength: 8 }), fc.array(fc.integer({ min: 1, max: 9 })), (values, cuts) => {
        // JSON has no -0: what is compared is what a peer can send.
        const sent = values.map((value) => JSON.parse(JSON.stringify(value)) as unknown)
        const bytes = Buffer.concat(sent.map(encodeDocument))
        const reader = documentReader()
        const got: unknown[] = []
        let at = 0
        for (const cut of [...cuts, bytes.length]) {
          got.push(...reader.push(bytes.subarray(at, at + cut)))
          at += cut
        }
        expect(got).toEqual(sent)
      }),
    )
  })

  it('keep characters that were cut in two', () => {
    const bytes = encodeDocument({ name: 'é🙂' })
    const reader = documentReader()
    const got = [...bytes].flatMap((byte) => reader.push(Uint8Array.of(byte)))
    expect(got).toEqual([{ name: 'é🙂' }])
  })

  it('may end with a carriage return, and empty lines are none', () => {
    expect(documentReader().push(Buffer.from('\r\n{"a":1}\r\n\n'))).toEqual([{ a: 1 }])
  })

  it('are refused when they are too long or no JSON', () => {
    expect(() => documentReader({ longest: 8 }).push(Buffer.from('[1,2,3,4,5,6'))).toThrow('longer than 8 bytes')
    expect(() => documentReader().push(Buffer.from('{"a"\n'))).toThrow('no JSON')
  })

  it('begin anew after the byte 0xff; half a document before it is forgotten', () => {
    const reader = documentReader({ skipGarbage: true })
    expect(reader.push(Buffer.from('{"return": 1'))).toEqual([])
    expect(reader.push(Buffer.concat([Buffer.of(0xff), encodeDocument({ return: 2 })]))).toEqual([{ return: 2 }])
    expect(reader.push(Buffer.from('rubbish\n{"return":3}\n'))).toEqual([{ return: 3 }])
  })
})
