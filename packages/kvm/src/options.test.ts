import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { resolveOptions } from './options.js'
import { hasVirtualization, whyNoKvm } from './qemu/accel.js'
import { parseVersion } from './qemu/binary.js'

describe('options', () => {
  it.each([
    [{ stateDir: 'relative' }, 'options.stateDir'],
    [{ stateDir: '' }, 'options.stateDir'],
    [{ stateDir: `/tmp/${'long/'.repeat(20)}` }, 'options.stateDir'],
    [{ accel: 'xen' }, 'options.accel'],
    [{ acel: 'kvm' }, 'options'],
    [{ subnet: '10.86.0.0/24' }, 'options.subnet'],
    [{ subnet: '10.86.5.0/16' }, 'options.subnet'],
    [{ subnet: '10.256.0.0/16' }, 'options.subnet'],
    [{ subnet: '224.1.0.0/16' }, 'options.subnet'],
    [{ subnet: '::/16' }, 'options.subnet'],
  ])('%j is refused by name', (options, field) => {
    expect(() => resolveOptions(options as never)).toThrow(
      expect.objectContaining({ code: 'INVALID_CONFIG', message: expect.stringContaining(field) }),
    )
  })

  it('takes any private range', () => {
    for (const subnet of ['10.0.0.0/16', '172.30.0.0/16', '192.168.0.0/16']) expect(resolveOptions({ subnet }).subnet).toBe(subnet)
  })

  it('takes the longest state folder that its sockets fit in', () => {
    const longest = `/${'x'.repeat(71)}`
    expect(resolveOptions({ stateDir: longest }).stateDir).toBe(longest)
    expect(() => resolveOptions({ stateDir: `${longest}x` })).toThrow(/shorter by 1 bytes/)
  })
})

describe('the accelerator', () => {
  it('is told by the flags of the processor', () => {
    expect(hasVirtualization('processor : 0\nflags\t\t: fpu vme vmx sse\n')).toBe(true)
    expect(hasVirtualization('flags\t\t: fpu svm\n')).toBe(true)
    expect(hasVirtualization('flags\t\t: fpu vmx_like hypervisor\nbugs : svm\n')).toBe(false)
  })

  it('is not KVM without its device, and says why', () => {
    expect(whyNoKvm('/dev/no-such-kvm')).toMatchObject({ code: 'UNSUPPORTED', message: expect.stringContaining('/dev/no-such-kvm') })
    expect(whyNoKvm('/')).toMatchObject({ code: 'UNSUPPORTED', message: expect.stringContaining('EISDIR') })
  })

  it.skipIf(process.geteuid?.() !== 0)('is told when this user may not open the device (not run without root, who may all)', () => {
    const folder = mkdtempSync(join(tmpdir(), 'vmkit-kvm-closed-'))
    process.seteuid?.(65534)
    try {
      expect(whyNoKvm(join(folder, 'kvm'))).toMatchObject({ code: 'PERMISSION_DENIED', hint: expect.stringContaining('group kvm') })
    } finally {
      process.seteuid?.(0)
      rmSync(folder, { recursive: true })
    }
  })

  it('comes with a QEMU whose version is read from its own words', () => {
    expect(parseVersion('QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\n')).toBe('7.2.22')
    expect(parseVersion('qemu-img version 7.2')).toBeUndefined()
  })
})
