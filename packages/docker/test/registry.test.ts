/** Pulls from real registries on loopback: progress, credentials from every place, and what a registry refuses. */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Progress } from '@vmkit/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { backendEnv, IMAGE, importUnique, pushImage, raw } from './engine.js'
import { slowPort } from './slow-port.js'
import { idle, managerOf, prepare, requireEngine, socketPath, why } from './support.js'

const open = backendEnv('VMKIT_REGISTRY')
const closed = backendEnv('VMKIT_PRIVATE_REGISTRY')
const [username = '', password = ''] = (backendEnv('VMKIT_PRIVATE_REGISTRY_AUTH') ?? '').split(':')

const whyNoRegistry = open === undefined || closed === undefined ? ' (not run: no registries; scripts/backends up starts two)' : ''
describe.skipIf(!requireEngine() || open === undefined || closed === undefined)(`registries${why || whyNoRegistry}`, () => {
  const reference = `${closed}/vmkit-test/closed:1`
  let folder: string
  const before = { config: process.env.DOCKER_CONFIG, path: process.env.PATH }
  beforeAll(async () => {
    await prepare()
    folder = await mkdtemp(join(tmpdir(), 'vmkit-docker-test-'))
    process.env.DOCKER_CONFIG = folder
    await importUnique(socketPath as string, 'vmkit-test/unique:1')
    await pushImage(socketPath as string, 'vmkit-test/unique:1', `${open}/vmkit-test/open:1`)
    await raw(socketPath as string, 'DELETE', '/images/vmkit-test/unique:1')
    await pushImage(socketPath as string, IMAGE, reference)
  })
  afterAll(async () => {
    if (before.config === undefined) delete process.env.DOCKER_CONFIG
    else process.env.DOCKER_CONFIG = before.config
    process.env.PATH = before.path
    await rm(folder, { recursive: true })
  })

  const pullClosed = async (options: Parameters<typeof managerOf>[0], auth?: { username: string; password: string }) => {
    const manager = managerOf({ socketPath, ...options })
    const { images } = manager.driver('docker')
    try {
      const image = await images.pull(reference, auth ? { auth } : {})
      await images.remove(reference)
      return image.reference
    } finally {
      await manager.close()
    }
  }

  it('tells the progress of a pull by layer', async () => {
    const manager = managerOf()
    const progress: Progress[] = []
    const { images } = manager.driver('docker')
    // The engine tells of a download ten times a second at most, and leaves out what was overtaken.
    await using slow = await slowPort(open as string)
    const image = await images.pull(`127.0.0.1:${slow.port}/vmkit-test/open:1`, { onProgress: (step) => void progress.push(step) })
    expect(image.sizeBytes).toBeGreaterThan(500_000)
    expect(
      progress.some(
        ({ item, phase, total, unit }) => /^[0-9a-f]{12}$/.test(item ?? '') && phase === 'download' && (total ?? 0) > 0 && unit === 'bytes',
      ),
    ).toBe(true)
    await images.remove(image.reference)
    await manager.close()
  })

  it('pulls a missing image on create, and not with `never`', async () => {
    const manager = managerOf()
    const driver = manager.driver('docker')
    const image = `${open}/vmkit-test/open:1`
    await expect(driver.create(idle({ image }))).rejects.toMatchObject({
      code: 'IMAGE_NOT_FOUND',
      field: 'config.image',
      message: expect.stringContaining(image),
      hint: expect.stringContaining("pull: 'missing'"),
    })
    const nowhere = `${open}/vmkit-test/none:1`
    await expect(driver.create(idle({ image: nowhere, pull: 'missing' }))).rejects.toMatchObject({
      code: 'IMAGE_NOT_FOUND',
      field: 'config.image',
    })
    const vm = await driver.create(idle({ image, pull: 'missing' }))
    await vm.delete()
    await driver.images.remove(image)
    await manager.close()
  })

  it('needs credentials where the registry wants them', async () => {
    await expect(pullClosed({})).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
  })

  it('says that a password is wrong, and does not repeat it', async () => {
    const error = await pullClosed({}, { username, password: 'wrong-password' }).catch((cause: unknown) => cause)
    expect(error).toMatchObject({ code: 'PERMISSION_DENIED' })
    expect(JSON.stringify(error)).not.toContain('wrong-password')
  })

  it('takes them from the call', async () => {
    expect(await pullClosed({}, { username, password })).toBe(reference)
  })

  it('takes them from the options', async () => {
    expect(await pullClosed({ registries: { [closed as string]: { username, password } } })).toBe(reference)
  })

  it('takes them from the Docker config file', async () => {
    const auth = Buffer.from(`${username}:${password}`).toString('base64')
    await writeFile(join(folder, 'config.json'), JSON.stringify({ auths: { [closed as string]: { auth } } }))
    expect(await pullClosed({})).toBe(reference)
    await rm(join(folder, 'config.json'))
  })

  it('takes them from a credential helper', async () => {
    const helper = join(folder, 'docker-credential-vmkit-test')
    await writeFile(
      helper,
      `#!/bin/sh\nread -r registry\n[ "$1 $registry" = "get ${closed}" ] || exit 1\necho '{"Username":"${username}","Secret":"${password}"}'\n`,
    )
    await chmod(helper, 0o755)
    process.env.PATH = `${folder}:${before.path}`
    await writeFile(join(folder, 'config.json'), JSON.stringify({ credHelpers: { [closed as string]: 'vmkit-test' } }))
    expect(await pullClosed({})).toBe(reference)
    await writeFile(join(folder, 'config.json'), JSON.stringify({ credsStore: 'vmkit-test-none' }))
    await expect(pullClosed({})).rejects.toMatchObject({
      code: 'PERMISSION_DENIED',
      message: expect.stringContaining('docker-credential-vmkit-test-none'),
    })
    await rm(join(folder, 'config.json'))
  })
})
