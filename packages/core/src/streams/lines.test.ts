import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Line, lineSplitter } from './lines.js'

function split(chunks: readonly (Uint8Array | string)[], start?: number, longest?: number): Line[] {
  const splitter = lineSplitter(start, longest)
  return [...chunks.flatMap((chunk) => splitter.push(Buffer.from(chunk as string))), ...splitter.end()]
}
const texts = (lines: Line[]): string[] => lines.map(({ text }) => text)

describe('lineSplitter', () => {
  it('ends lines at \\n and \\r\\n, and gives the last one at the end', () => {
    expect(texts(split(['a\nb\r\n\nc']))).toEqual(['a', 'b', '', 'c'])
    expect(texts(split(['a\r', '\nb\r']))).toEqual(['a', 'b\r'])
    expect(split([])).toEqual([])
  })

  it('puts split UTF-8 together, wherever it is cut', () => {
    const bytes = Buffer.from('héllo €uro 😀\n')
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      expect(texts(split([bytes.subarray(0, cut), bytes.subarray(cut)]))).toEqual(['héllo €uro 😀'])
    }
  })

  it('keeps a byte order mark, and shows what is no UTF-8', () => {
    expect(texts(split(['\uFEFFa\n']))).toEqual(['\uFEFFa'])
    expect(texts(split([Buffer.from([0xff, 0x0a])]))).toEqual(['\uFFFD'])
  })

  it('counts bytes, from where it starts', () => {
    expect(split(['é\r\nb\n'], 100).map(({ end }) => end)).toEqual([104, 106])
  })

  it('cuts a long line between characters', () => {
    const lines = split(['€€€€\nx\n'], 0, 7)
    expect(lines.map(({ text, partial }) => [text, partial])).toEqual([
      ['€€', true],
      ['€€', false],
      ['x', false],
    ])
    expect(lines.at(-1)?.end).toBe(15)
  })

  it('does not cut a line of exactly the longest length', () => {
    expect(split(['1234567\n'], 0, 7)).toEqual([{ text: '1234567', end: 8, partial: false }])
  })

  it('cuts bytes that are no text somewhere', () => {
    const lines = split([new Uint8Array(20).fill(0x80)], 0, 8)
    expect(lines.map(({ end }) => end)).toEqual([8, 16, 20])
  })

  it('loses nothing, however the stream is cut', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.array(fc.nat(40)), fc.integer({ min: 4, max: 30 }), (text, cuts, longest) => {
        const bytes = Buffer.from(text)
        const edges = [0, ...cuts.map((cut) => Math.min(cut, bytes.length)).sort((a, b) => a - b), bytes.length]
        const chunks = edges.slice(1).map((edge, index) => bytes.subarray(edges[index], edge))
        const lines = split(chunks, 0, longest)
        const whole = lines.map(({ text: line, partial }) => (partial ? line : `${line}\n`)).join('')
        expect(whole.replace(/\n$/, '')).toBe(text.replaceAll('\r\n', '\n').replace(/\n$/, ''))
        expect(lines.at(-1)?.end ?? 0).toBe(bytes.length)
        expect(split([bytes], 0, longest)).toEqual(lines)
      }),
    )
  })
})
