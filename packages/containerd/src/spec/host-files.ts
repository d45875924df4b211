/** The texts of `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` in a machine. */

export interface HostsEntry {
  address: string
  names: readonly string[]
}

export function hostsFile(own: readonly HostsEntry[], extraHosts: readonly string[] = []): string {
  const extra = extraHosts.map((entry) => {
    const colon = entry.indexOf(':')
    return { address: entry.slice(colon + 1), names: [entry.slice(0, colon)] }
  })
  const lines = [
    { address: '127.0.0.1', names: ['localhost'] },
    { address: '::1', names: ['localhost', 'ip6-localhost', 'ip6-loopback'] },
    ...extra,
    ...own,
  ]
  return `${lines.map(({ address, names }) => `${address}\t${names.join(' ')}`).join('\n')}\n`
}

/**
 * The host's, with what was asked for instead. A name server on the host's own loopback is another one in a network
 * namespace: it goes, unless the machine shares the host's network.
 */
export function resolvConf(
  host: string,
  { dns, dnsSearch }: { dns?: readonly string[]; dnsSearch?: readonly string[] },
  sharesHost: boolean,
): string {
  const lines = host.split('\n').filter((line) => {
    if (/^\s*nameserver\s/.test(line)) return dns === undefined && (sharesHost || !/nameserver\s+(127\.|::1\b)/.test(line))
    if (/^\s*(search|domain)\s/.test(line)) return dnsSearch === undefined
    return line.trim() !== ''
  })
  const asked = [...(dns ?? []).map((address) => `nameserver ${address}`), ...(dnsSearch?.length ? [`search ${dnsSearch.join(' ')}`] : [])]
  const all = [...lines, ...asked]
  return all.length === 0 ? '' : `${all.join('\n')}\n`
}
