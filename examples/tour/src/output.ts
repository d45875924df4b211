import { styleText } from 'node:util'

type Style = 'bold' | 'dim' | 'green' | 'yellow' | 'red'

const { stdout } = process
/** A line can be written again only on a terminal; elsewhere no control code is ever written. */
const isTerminal = stdout.isTTY === true && process.env.TERM !== 'dumb'
// hasColors() knows of NO_COLOR.
const hasColors = isTerminal && stdout.hasColors()

export function paint(style: Style, text: string): string {
  return hasColors ? styleText(style, text) : text
}

export function heading(text: string): void {
  console.log(`\n${paint('bold', text)}`)
}

/** Shown while something goes on, where that is possible; the next `settle` takes its place. */
export function pending(text: string): void {
  if (isTerminal) stdout.write(`\r\u001b[2K${paint('dim', text)}`)
}

export function settle(text: string): void {
  console.log(isTerminal ? `\r\u001b[2K${text}` : text)
}

export const WIDTH = 100

export interface Column {
  align?: 'right'
  style?(text: string): Style | undefined
}

/** Columns two spaces apart; the first row is the heading. Styles go around the padded text, so that widths hold. */
export function table(rows: readonly (readonly string[])[], columns: readonly Column[]): string {
  const widths = columns.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)))
  const cell = (text: string, i: number, isHeading: boolean): string => {
    const padded = columns[i]?.align === 'right' ? text.padStart(widths[i] ?? 0) : text.padEnd(widths[i] ?? 0)
    const style = isHeading ? 'bold' : columns[i]?.style?.(text)
    return style && text !== '' ? paint(style, padded) : padded
  }
  return rows.map((row, line) => `  ${row.map((text, i) => cell(text, i, line === 0)).join('  ')}`.trimEnd()).join('\n')
}

/** Breaks a text at spaces, and a word that is too long anywhere; all lines but the first are indented as deep as its mark. */
export function paragraph(mark: string, text: string): string {
  const room = WIDTH - mark.length - 1
  const words = text.split(' ').flatMap((word) => word.match(new RegExp(`.{1,${room}}`, 'gu')) ?? [])
  const lines: string[] = []
  for (const word of words) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + 1 + word.length <= room) lines[lines.length - 1] = `${last} ${word}`
    else lines.push(word)
  }
  return lines.map((line, i) => `${i === 0 ? mark : ' '.repeat(mark.length)} ${line}`).join('\n')
}
