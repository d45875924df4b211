import assert from 'node:assert/strict'
import type { Progress } from '@vmkit/core'
import { all, rejects } from '../assertions.js'
import type { Test } from '../tools.js'

/** Images: pulled with progress, listed, removed, imported, built. */
export function images(test: Test): void {
  const gate = { needs: ['images'], hooks: ['images'], limitMs: 120_000 } as const

  test('pull, list', gate, async (t) => {
    const reference = t.options.images?.reference as string
    const progress: Progress[] = []
    const image = await t.driver.images.pull(reference, { policy: 'always', onProgress: (step) => progress.push(step) })
    assert.ok(image.id.length > 0)
    assert.ok((await t.driver.images.list()).some(({ id }) => id === image.id))
    const again = await t.driver.images.pull(reference, { policy: 'missing' })
    assert.equal(again.id, image.id)
    for (const { phase, current, total } of progress) {
      assert.match(phase, /\S/)
      if (typeof current === 'number' && typeof total === 'number') assert.ok(current <= total, `${phase}: ${current} of ${total}`)
    }
  })

  test('an image that is not there is IMAGE_NOT_FOUND', gate, async (t) => {
    const missing = t.options.images?.missing as string
    const before = (await t.driver.images.list()).length
    await rejects(t.driver.images.pull(missing, { policy: 'always' }), ['IMAGE_NOT_FOUND', 'PERMISSION_DENIED'])
    await rejects(t.driver.images.remove(missing), 'IMAGE_NOT_FOUND')
    assert.equal((await t.driver.images.list()).length, before)
  })

  test('`pull: never` does not pull', gate, async (t) => {
    const missing = t.options.images?.missing as string
    // Machines of a fixture may be made of a folder, beside which there can be no image.
    const { rootfs: _, ...config } = t.config({ does: 'idle' }, { image: missing, pull: 'never' })
    await rejects(t.driver.create(config), 'IMAGE_NOT_FOUND')
    assert.equal((await t.mine()).length, 0)
  })

  test('hostile references are refused', gate, async (t) => {
    for (const reference of ['', '-rf', '--all'])
      await rejects(t.driver.images.pull(reference), 'INVALID_CONFIG', JSON.stringify(reference))
    for (const reference of ['../../etc/passwd', 'a b', 'x'.repeat(5000), 'UPPER/case:1']) {
      await rejects(
        t.driver.images.pull(reference),
        ['INVALID_CONFIG', 'IMAGE_NOT_FOUND', 'PERMISSION_DENIED'],
        JSON.stringify(reference.slice(0, 40)),
      )
    }
  })

  test('an archive is imported, and removed', gate, async (t) => {
    const archive = t.options.images?.archive
    if (!archive) return t.skip('the fixture has no `images.archive`')
    const image = await t.driver.images.import(archive())
    t.undo(() => t.driver.images.remove(image.reference).catch(() => {}))
    assert.ok((await t.driver.images.list()).some(({ id }) => id === image.id))
    await rejects(t.driver.images.import(Buffer.from('not an archive')), ['INVALID_CONFIG', 'BACKEND_ERROR', 'UNSUPPORTED'])
  })

  test('an image goes out as an archive, and comes in again', { ...gate, needs: ['images', 'images.export'] }, async (t) => {
    const archive = t.options.images?.archive
    if (!archive) return t.skip('the fixture has no `images.archive`')
    const { images } = t.driver
    const { reference } = await images.import(archive())
    t.undo(() => images.remove(reference).catch(() => {}))
    const chunks: Uint8Array[] = []
    for await (const chunk of images.export(reference)) chunks.push(chunk)
    await images.remove(reference)
    assert.ok(!(await images.list()).some((image) => image.reference === reference))
    const again = await images.import(Buffer.concat(chunks))
    assert.equal(again.reference, reference)
    assert.ok((await images.list()).some(({ id }) => id === again.id))
    // One who has seen enough leaves nothing open, and nothing changed.
    for await (const _ of images.export(reference)) break
    assert.ok((await images.list()).some(({ id }) => id === again.id))
    await images.remove(reference)
    await rejects(all(images.export(reference)), 'IMAGE_NOT_FOUND')
  })

  test('an image is built, and a failed build fails', { needs: ['images', 'build'], hooks: ['images'], limitMs: 180_000 }, async (t) => {
    const context = t.options.images?.buildContext
    if (context === undefined) return t.skip('the fixture has no `images.buildContext`')
    const tag = `${t.name()}:built`
    const image = await t.driver.build({ context, tag })
    t.undo(() => t.driver.images.remove(image.reference).catch(() => {}))
    assert.ok((await t.driver.images.list()).some(({ id }) => id === image.id))
    await rejects(t.driver.build({ context, tag: `${t.name()}:failed`, dockerfile: 'kit-no-such-dockerfile' }), [
      'INVALID_CONFIG',
      'NOT_FOUND',
      'BACKEND_ERROR',
    ])
  })
}
