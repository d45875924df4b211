/** `/etc/hosts` of the vmkit guest (hosts(5)): what it writes at boot, and behind that the machines of its networks. Pure. */

const MARK = '# vmkit: machines of the same networks'

export interface Named {
  address: string
  names: readonly string[]
}

/** As guest/src/boot.c writes it. */
export function bootHosts(hostname: string): string {
  return `127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 ${hostname}\n`
}

/** The text with these machines and no others; what the guest has of its own stays. */
export function withMachines(text: string, machines: readonly Named[]): string {
  const at = text.indexOf(MARK)
  const own = at < 0 ? text : text.slice(0, at)
  if (machines.length === 0) return own
  const start = own === '' || own.endsWith('\n') ? own : `${own}\n`
  return `${start}${MARK}\n${machines.map(({ address, names }) => `${address}\t${names.join(' ')}\n`).join('')}`
}
