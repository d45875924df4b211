/**
 * A driver that does nothing, for child Nodes, which cannot load TypeScript: what core keeps after a job is not the memory of
 * the driver that is measured, so the other side does the same job on this one.
 *
 * @param {readonly string[]} fields the config fields of the job
 * @returns {import('@vmkit/core').VMDriver}
 */
export function idleDriver(fields) {
  const summary = { id: 'one', name: 'one', driver: 'idle', state: 'created', labels: {}, createdAt: 0 }
  const nothing = async () => {}
  return {
    name: 'idle',
    apiVersion: 1,
    capabilities: {},
    fields,
    durability: 'app',
    isolation: 'none',
    probe: async () => ({ available: true, missing: {} }),
    create: async () => ({ id: 'one' }),
    start: nothing,
    stop: nothing,
    kill: nothing,
    delete: nothing,
    getStatus: async () => ({ state: 'created' }),
    getInfo: async () => ({ ...summary, config: {}, addresses: [], ports: [], startedAt: null, pid: null }),
    getMetrics: nothing,
    list: async () => [summary],
    wait: async () => ({ code: 0, signal: null, oom: null, reason: 'exited', at: 0 }),
    close: nothing,
  }
}
