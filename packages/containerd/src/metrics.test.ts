import { expect, it } from 'vitest'
import { unpack } from './grpc/messages.js'
import { metricsOf } from './metrics.js'

/**
 * Protobuf's encoding by hand, so that the numbers of the fields are tested too: those of github.com/containerd/cgroups,
 * cgroup2/stats/metrics.proto and cgroup1/stats/metrics.proto.
 */
type Field = readonly [number, bigint | number | string | Uint8Array]

function varint(value: bigint): number[] {
  const bytes: number[] = []
  let rest = BigInt.asUintN(64, value)
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80)
  return [...bytes, Number(rest)]
}

function message(...fields: Field[]): Uint8Array {
  return Uint8Array.from(
    fields.flatMap(([number, value]) => {
      if (typeof value === 'bigint' || typeof value === 'number') return [...varint(BigInt(number << 3)), ...varint(BigInt(value))]
      const bytes = typeof value === 'string' ? new TextEncoder().encode(value) : value
      return [...varint(BigInt((number << 3) | 2)), ...varint(BigInt(bytes.length)), ...bytes]
    }),
  )
}

const read = (version: 'v1' | 'v2', ...fields: Field[]) =>
  metricsOf(unpack({ typeUrl: `io.containerd.cgroups.${version}.Metrics`, value: message(...fields) }))

const MIB = 2 ** 20

it('reads what the kernel counts on cgroup v2', () => {
  const pids = message([1, 7], [2, 100])
  const cpu = message([1, 2_500_000], [2, 1_500_000], [3, 1_000_000], [4, 9], [5, 8], [6, 7])
  const memory = message([1, 5 * MIB], [2, 30 * MIB], [13, 24 * MIB], [14, 1], [32, 40 * MIB], [33, 64 * MIB], [34, 3 * MIB])
  const io = message(
    [1, message([1, 254], [2, 0], [3, 4096], [4, 8192], [5, 1], [6, 2])],
    [1, message([1, 254], [2, 16], [3, 1000], [4, 0])],
  )
  expect(read('v2', [1, pids], [2, cpu], [4, memory], [6, io], [8, message([4, 1], [5, 1])])).toEqual({
    source: 'cgroup-v2',
    cpu: { usageMs: 2500, userMs: 1500, systemMs: 1000 },
    memory: { usedBytes: 16 * MIB, limitBytes: 64 * MIB },
    pids: 7,
    network: null,
    disk: { readBytes: 5096, writeBytes: 8192 },
  })
})

it('takes no limit on cgroup v2, which is all ones, for none', () => {
  const memory = message([32, 10], [33, 2n ** 64n - 1n])
  expect(read('v2', [4, memory])).toMatchObject({ memory: { usedBytes: 10, limitBytes: null } })
})

it('leaves out what cgroup v2 does not tell, rather than saying zero', () => {
  expect(read('v2')).toEqual({
    source: 'cgroup-v2',
    cpu: { usageMs: null, userMs: null, systemMs: null },
    memory: { usedBytes: null, limitBytes: null },
    pids: null,
    network: null,
    disk: null,
  })
  // What is read from the cache alone: more may be counted inactive than is charged.
  expect(read('v2', [4, message([13, 20], [32, 10])])).toMatchObject({ memory: { usedBytes: 0 } })
})

it('knows nothing of a message that is no metrics', () => {
  expect(metricsOf(unpack({ typeUrl: 'io.containerd.cgroups.v3.Metrics', value: message() }))).toEqual({ source: 'containerd' })
})
