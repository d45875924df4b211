import { CAPABILITIES, CAPABILITY_TABLE, type Capability, type DriverHandle, type HostProbe } from '@vmkit/core'
import { paragraph, table, WIDTH } from './output.js'

export interface Visited {
  name: string
  handle: DriverHandle
  probe: HostProbe
}

/** The drivers, what each can do here, and why not where it cannot. */
export function matrix(drivers: readonly Visited[]): string {
  const reasons: string[] = []
  const footnote = (word: string, reason: string): string => {
    reasons.push(reason)
    return `${word} [${reasons.length}]`
  }
  const cell = ({ name, handle, probe }: Visited, capability: Capability): string => {
    const { missing, capabilities } = handle
    if (probe.available && missing[capability] === undefined) return 'yes'
    const word = capabilities[capability] ? 'no' : '-'
    const reason = probe.missing[capability]
    return reason === undefined ? word : footnote(word, `${name}, ${capability}: ${reason}`)
  }
  const hosts = drivers.map(({ name, handle, probe }) => [
    name,
    probe.available ? 'yes' : footnote('no', `${name}: ${whyNot(probe)}`),
    probe.engine ?? '-',
    handle.isolation,
    handle.durability === 'host' ? 'outlive the app' : 'end with the app',
  ])
  const grid = CAPABILITIES.map((capability) => [capability, ...drivers.map((driver) => cell(driver, capability))])
  const room = WIDTH - width([['', ...drivers.map(({ name }) => name)], ...grid])
  return [
    table([['driver', 'works here', 'engine', 'isolation', 'its machines'], ...hosts], [{}, { style: colour }, {}, {}, {}]),
    '',
    table(
      [['', ...drivers.map(({ name }) => name), ''], ...grid.map((row, i) => [...row, summary(CAPABILITIES[i] as Capability, room)])],
      [{}, ...drivers.map(() => ({ style: colour })), { style: () => 'dim' }],
    ),
    '',
    '  yes: here; no: not here, for the reason below; -: never with this driver',
    ...reasons.map((reason, i) => paragraph(`  [${i + 1}]`, reason)),
  ].join('\n')
}

/** Columns of text that a table takes, with the gap behind its last one. */
function width(rows: readonly (readonly string[])[]): number {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)))
  return widths.reduce((sum, cells) => sum + cells + 2, 2)
}

/** Only whole: a table of many drivers has no room for all. */
function summary(capability: Capability, room: number): string {
  const text = CAPABILITY_TABLE[capability].summary
  return text.length <= room ? text : ''
}

function whyNot({ reason, tried = [] }: HostProbe): string {
  const looked = tried.map(({ target, result }) => `${target} ${result}`).join(', ')
  return `${reason ?? 'it gives no reason'}${looked === '' ? '' : ` (looked at: ${looked})`}`
}

function colour(text: string): 'green' | 'yellow' | 'dim' | undefined {
  if (text === 'yes') return 'green'
  if (text.startsWith('no')) return 'yellow'
  return text.startsWith('-') ? 'dim' : undefined
}
