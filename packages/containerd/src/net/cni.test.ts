import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, expect, it } from 'vitest'
import { addNetwork } from './cni.js'

const folder = mkdtempSync(join(tmpdir(), 'vmkit-cni-'))
afterEach(() => rmSync(folder, { recursive: true, force: true }))

it('a plugin that is at work when the caller leaves finishes, so that what it made is found and given back', async () => {
  const [address, begun, done] = ['address', 'begun', 'done'].map((name) => join(folder, name)) as [string, string, string]
  // As the bridge plugin does, it has another program note the address, which goes on when it is killed itself.
  writeFileSync(join(folder, 'ipam'), `#!/bin/sh\n: > ${begun}\nsleep 0.3\n: > ${address}\n: > ${done}\n`, { mode: 0o755 })
  writeFileSync(join(folder, 'slow'), `#!/bin/sh\nif [ "$CNI_COMMAND" = DEL ]; then rm -f ${address}; else ${folder}/ipam; fi\n`, {
    mode: 0o755,
  })
  const ended = new AbortController()
  const conf = { cniVersion: '0.4.0', name: 'n', plugins: [{ type: 'slow' }, { type: 'slow' }] }
  const attachment = { containerId: 'c', netns: '/none', ifName: 'eth0', ports: [] }
  const adding = addNetwork({ binDirs: [folder] }, conf, attachment, ended.signal)
  while (!existsSync(begun)) await delay(5)
  ended.abort(new Error('enough'))
  await expect(adding).rejects.toThrow('enough')
  // Whoever ended the plugin, the program has written by then.
  while (!existsSync(done)) await delay(5)
  expect(existsSync(address)).toBe(false)
})
