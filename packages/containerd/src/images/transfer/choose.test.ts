import { describe, expect, it } from 'vitest'
import { choosePuller, type Daemon } from './choose.js'

const plugins: Daemon['plugins'] = [
  { type: 'io.containerd.grpc.v1', id: 'transfer' },
  { type: 'io.containerd.transfer.v1', id: 'local' },
  { type: 'io.containerd.grpc.v1', id: 'streaming' },
]
const daemon = (change: Partial<Daemon> = {}): Daemon => ({ version: 'v2.1.9', plugins, snapshotter: 'overlayfs', ...change })
const by = (wanted: 'auto' | 'client' | 'transfer' | undefined, change?: Partial<Daemon>) =>
  choosePuller(wanted, daemon(change), 'containerd')

describe('choosePuller', () => {
  it('takes the service where it can all that we need', () => {
    for (const version of ['v2.0.0', '2.1.9~ds1', 'v3.0.0-beta.1']) expect(by(undefined, { version })).toMatchObject({ by: 'transfer' })
    expect(by('auto')).toEqual({ by: 'transfer', why: 'the daemon has it' })
    expect(by('transfer', { snapshotter: 'native' })).toMatchObject({ by: 'transfer' })
  })

  it('takes our own client elsewhere, and says why', () => {
    expect(by('client')).toMatchObject({ by: 'client', why: expect.stringContaining('pullBy') })
    expect(by('auto', { version: '1.7.24~ds1' })).toMatchObject({ by: 'client', why: expect.stringContaining('plain HTTP') })
    expect(by('auto', { version: 'unknown' })).toMatchObject({ by: 'client' })
    expect(by('auto', { snapshotter: 'native' })).toMatchObject({ by: 'client', why: expect.stringContaining('native') })
    for (const lacking of plugins) {
      const rest = plugins.filter((each) => each !== lacking)
      const name = `${lacking.type}.${lacking.id}`
      expect(by('auto', { plugins: rest })).toMatchObject({ by: 'client', why: `the daemon has no plugin ${name}` })
      const broken = { ...lacking, initErr: { message: 'no such luck' } as NonNullable<(typeof lacking)['initErr']> }
      expect(by('auto', { plugins: [...rest, broken] })).toMatchObject({
        by: 'client',
        why: expect.stringMatching(/did not start: no such luck/),
      })
    }
  })

  it('refuses the service where it is wanted and cannot', () => {
    const refusal = expect.objectContaining({ code: 'UNSUPPORTED', field: 'options.pullBy' })
    expect(() => by('transfer', { plugins: [] })).toThrow(refusal)
    expect(() => by('transfer', { version: '1.7.24' })).toThrow(refusal)
  })
})
