/** A daemon that goes away in the middle of what is under way, and comes back. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createManager } from '@vmkit/core'
import { describe, expect, it } from 'vitest'
import { containerd } from '../src/driver.js'
import { ownDaemon } from './daemon.js'
import { ensureTestImage, requireEngine, sockets, why } from './engine.js'
import { codeOf, config, on, uidOf } from './setting.js'
import { traces } from './traces.js'

const TICK = ['sh', '-c', 'i=0; while :; do i=$((i+1)); echo "tick $i"; sleep 0.05; done']

for (const [version, socketPath] of Object.entries(sockets)) {
  describe.skipIf(!requireEngine(socketPath))(`containerd ${version} that goes away${why(socketPath)}`, () => {
    it('tasks live on; what was open fails with a type; the same driver goes on', { timeout: 90_000 }, async () => {
      await using daemon = await ownDaemon(socketPath as string)
      await ensureTestImage(daemon.socketPath, 'own')
      const where = { socketPath: daemon.socketPath, namespace: 'own', stateDir: join(daemon.folder, 'vmkit') }
      await using manager = createManager({ drivers: { containerd: containerd(where) } })
      const handle = manager.driver('containerd')
      const vm = await manager.create(config({ command: TICK }), on)
      await vm.start()
      const { pid } = await vm.info()
      const seen: string[] = []
      let cursor = ''
      const logs = (async () => {
        for await (const entry of vm.logs({ follow: true })) {
          seen.push(entry.text)
          cursor = entry.cursor
        }
      })()
      const exec = vm.exec(['sh', '-c', 'echo $$ > /data/command; exec sleep 1000'])
      const waiting = vm.wait()
      await vm.waitFor({ exec: ['test', '-s', '/data/command'], timeoutMs: 10_000 })
      const made: string[] = []
      // One after the other, so that one of them is cut in the middle, wherever that is.
      const creating = (async () => {
        for (;;) {
          const name = `cut-${made.length}`
          await manager.create(config({ name }), on)
          made.push(name)
        }
      })()
      const outcomes = Promise.all([logs, exec, waiting, creating].map((each) => codeOf(each)))
      await expect.poll(() => made.length, { timeout: 20_000 }).toBeGreaterThan(3)
      // What follows goes on behind it.
      await expect.poll(() => seen.length, { timeout: 20_000 }).toBeGreaterThan(0)
      await daemon.stop()
      expect(await outcomes).toEqual(Array.from({ length: 4 }, () => 'BACKEND_UNAVAILABLE'))
      expect(await codeOf(vm.status())).toBe('BACKEND_UNAVAILABLE')
      expect(await codeOf(handle.images.list())).toBe('BACKEND_UNAVAILABLE')
      // The task, and the command in it, know nothing of that.
      expect(readFileSync(`/proc/${pid}/comm`, 'utf8')).toBe('sh\n')

      await daemon.start()
      expect((await vm.info()).pid).toBe(pid)
      const next: string[] = []
      for await (const { text } of vm.logs({ follow: true, after: cursor })) {
        next.push(text)
        if (next.length === 3) break
      }
      const last = Number(/\d+/.exec(seen.at(-1) ?? '')?.[0])
      expect(next).toEqual([1, 2, 3].map((step) => `tick ${last + step}`))
      expect((await vm.exec(['sh', '-c', 'kill -0 $(cat /data/command) && echo lives'])).stdout).toBe('lives\n')
      // What was made is there; what was cut is not, or whole: the daemon may have made it, and died before it could say so.
      const cut = `cut-${made.length}`
      const listed = (await handle.list()).map(({ name }) => name).filter((name) => name.startsWith('cut-'))
      expect(listed.filter((name) => name !== cut).sort()).toEqual([...made].sort())
      if (!listed.includes(cut)) await (await manager.create(config({ name: cut }), on)).delete()
      const uids: string[] = []
      for (const { id } of await handle.list()) {
        uids.push(uidOf({ id }))
        await (await manager.get('containerd', id)).delete({ force: true })
      }
      expect(await traces({ ...where, uids })).toEqual([])
    })
  })
}
