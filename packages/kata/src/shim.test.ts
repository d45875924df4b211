import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { runtimeName } from './runtime-name.js'
import { findConfig, findShim, parseVersion, shimBinary, shimVersion } from './shim.js'

const folder = mkdtempSync(join(tmpdir(), 'vmkit-kata-test-'))
afterAll(() => rmSync(folder, { recursive: true }))

const script = (name: string, text: string) => {
  writeFileSync(join(folder, name), text)
  chmodSync(join(folder, name), 0o755)
  return join(folder, name)
}

describe('the shim', () => {
  it.each([
    ['kata', 'io.containerd.kata.v2', 'containerd-shim-kata-v2'],
    ['kata-qemu', 'io.containerd.kata-qemu.v2', 'containerd-shim-kata-qemu-v2'],
    ['io.containerd.kata-fc.v2', 'io.containerd.kata-fc.v2', 'containerd-shim-kata-fc-v2'],
    ['/opt/x/shim', '/opt/x/shim', '/opt/x/shim'],
  ])('of %s is run as containerd does', (runtime, name, binary) => {
    expect(runtimeName(runtime)).toBe(name)
    expect(shimBinary(runtimeName(runtime))).toBe(binary)
  })

  it.each([
    [
      'Kata Containers containerd shim (Golang): id: "io.containerd.kata.v2", version: 3.28.0, commit: 660e3bb6',
      { kind: 'go', version: '3.28.0' },
    ],
    ['Kata Containers containerd shim: id: "io.containerd.kata.v2", version: 3.0.0, commit: e2a8815b', { kind: 'go', version: '3.0.0' }],
    [
      'Kata Containers containerd shim (Rust): id: io.containerd.kata.v2, version: 3.23.0, commit: 8534afb9',
      { kind: 'rust', version: '3.23.0' },
    ],
    ['containerd-shim-kata-v2:\n  Version:  1.6.20~ds1\n  Revision: 1.6.20', { kind: 'foreign', version: '1.6.20~ds1' }],
    ['', { kind: 'foreign' }],
  ])('says whose it is: %j', (output, version) => {
    expect(parseVersion(output)).toEqual(version)
  })

  it('is found on the PATH, and asked for its version', async () => {
    const path = script(
      'containerd-shim-kata-qemu-v2',
      '#!/bin/sh\necho "Kata Containers containerd shim (Rust): id: x, version: 3.9.1, commit: y"\n',
    )
    expect(findShim('io.containerd.kata-qemu.v2', folder).found).toBe(path)
    expect(findShim('io.containerd.kata-none.v2', folder)).toMatchObject({ found: undefined })
    expect(await shimVersion(path, new AbortController().signal)).toEqual({ kind: 'rust', version: '3.9.1' })
    expect(await shimVersion(script('dumb', '#!/bin/sh\nexit 3\n'), new AbortController().signal)).toEqual({ kind: 'foreign' })
  })

  it('takes the configuration of its wrapper, of the options, or the usual one', () => {
    const [wrapped, given] = ['a.toml', 'b.toml'].map((name) => join(folder, name)) as [string, string]
    mkdirSync(join(folder, 'etc'))
    for (const path of [wrapped, given]) writeFileSync(path, '')
    const shim = script('wrapper', `#!/bin/bash\nKATA_CONF_FILE=${wrapped} /opt/kata/bin/containerd-shim-kata-v2 "$@"\n`)
    expect(findConfig(shim, 'go', undefined).found).toBe(wrapped)
    expect(findConfig(shim, 'go', given).found).toBe(given)
    expect(findConfig(shim, 'rust', given).found).toBe(wrapped)
    expect(findConfig(undefined, 'go', join(folder, 'none')).found).toBeUndefined()
    expect(findConfig(undefined, 'rust', undefined).tried[0]).toBe('/etc/kata-containers/runtime-rs/configuration.toml')
  })
})
