import { CAPABILITIES, CAPABILITY_TABLE } from '@vmkit/core'

/** The table of capabilities, out of the one in core. */
export function capabilities(): string {
  const rows = CAPABILITIES.map((capability) => {
    const { summary, methods, fields } = CAPABILITY_TABLE[capability]
    return [
      code(capability),
      summary,
      methods.map((method) => method.split('|').map(code).join(' or ')).join(', '),
      fields.map(code).join(', '),
    ]
  })
  return [['capability', 'what it is', 'methods', 'config fields'], ['---', '---', '---', '---'], ...rows]
    .map((cells) => `| ${cells.join(' | ')} |\n`)
    .join('')
}

function code(name: string): string {
  return `\`${name}\``
}
