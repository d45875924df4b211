import { describe, expect, it } from 'vitest'
import { cpioArchive } from './cpio.js'
import { encodeRecords, mainCommand, processOf } from './run-spec.js'

describe('the spec of a run', () => {
  it('keeps any value: keys and values only end by NUL', () => {
    expect(
      encodeRecords([
        ['arg', 'a\n"b" $(c)'],
        ['env', ''],
      ]).toString(),
    ).toBe('arg\0a\n"b" $(c)\0env\0\0')
  })

  it('has the command that container engines would run', () => {
    const image = { Entrypoint: ['entry'], Cmd: ['cmd'] }
    expect(mainCommand({}, image)).toEqual(['entry', 'cmd'])
    expect(mainCommand({ args: ['args'] }, image)).toEqual(['entry', 'args'])
    expect(mainCommand({ command: ['command'] }, image)).toEqual(['command'])
    expect(() => mainCommand({}, {})).toThrow(/config\.command/)
  })

  it("takes the image's environment, user and folder where the config has none", () => {
    const image = { Env: ['A=image', 'B=image'], User: 'app', WorkingDir: '/srv' }
    const config = { env: { A: 'config' }, user: '0' } as never
    expect(processOf(config, image)).toEqual({ env: ['B=image', 'A=config'], user: '0', workdir: '/srv' })
  })
})

describe('an archive for the kernel', () => {
  it('is in multiples of four bytes, with its folders first', () => {
    const archive = cpioArchive([{ name: 'files/0', content: Buffer.from('abc') }])
    expect(archive.length % 4).toBe(0)
    const [folder, file, trailer] = ['files\0', 'files/0\0', 'TRAILER!!!\0'].map((name) => archive.indexOf(name))
    expect(folder).toBeLessThan(file as number)
    expect(file).toBeLessThan(trailer as number)
    expect(archive.subarray(0, 6).toString()).toBe('070701')
  })
})
