/** Engines behind TLS and behind ssh: a dockerd and an sshd of these tests alone, on loopback. */
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { type DockerOptions, docker } from '../src/driver.js'
import { unaborted } from '../src/machines.js'
import { type Certificates, makeCertificates } from './certificates.js'
import { type OwnDaemon, ownDaemon } from './daemon.js'
import { ensureImage } from './engine.js'
import { freePort, SSHD, type Sshd, startSshd } from './sshd.js'
import { type DockerManager, idle, managerOf, prepare, requireEngine, socketPath, why } from './support.js'

const isRoot = process.geteuid?.() === 0

/** What the driver itself says when it looks for the engine. */
async function refusal(options: DockerOptions): Promise<unknown> {
  const driver = docker(options)
  try {
    return await driver.list({}, unaborted()).then(
      () => undefined,
      (error: unknown) => error,
    )
  } finally {
    await driver.close()
  }
}

/** A life with everything that goes over the wire otherwise: a hijacked connection, a stream, a tar. */
async function live(manager: DockerManager): Promise<void> {
  await using vm = await manager.driver('docker').create(idle({ networks: ['none'], command: ['sh', '-c', 'echo here; exec sleep 1000'] }))
  await vm.start()
  expect((await vm.exec(['cat'], { stdin: 'through' })).stdout).toBe('through')
  await vm.files.write('/tmp/file', 'content')
  expect((await vm.exec(['cat', '/tmp/file'])).stdout).toBe('content')
  const texts: string[] = []
  for await (const { text } of vm.logs({ follow: true })) {
    texts.push(text)
    break
  }
  expect(texts).toEqual(['here'])
  await vm.stop({ graceMs: 0 })
}

describe.skipIf(!requireEngine() || !isRoot)(`an engine behind TLS${why || (isRoot ? '' : ' (not run: dockerd needs root)')}`, () => {
  let folder: string
  let made: Certificates
  let others: Certificates
  let port: number
  let daemon: OwnDaemon
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'vmkit-tls-'))
    made = await makeCertificates(join(folder, 'made'))
    others = await makeCertificates(join(folder, 'others'))
    port = await freePort()
    daemon = await ownDaemon({ tls: { ...made, port } })
    await ensureImage(daemon.socketPath)
    await prepare()
  }, 60_000)
  afterAll(async () => {
    await daemon?.[Symbol.asyncDispose]()
    await rm(folder, { recursive: true })
  }, 60_000)
  afterEach(() => void vi.unstubAllEnvs())

  const host = (name = '127.0.0.1') => `tcp://${name}:${port}`
  const files = (from: Certificates = made) => ({
    ca: from.ca,
    cert: join(from.client, 'cert.pem'),
    key: join(from.client, 'key.pem'),
  })

  it('is found by DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH', async () => {
    vi.stubEnv('DOCKER_HOST', host())
    vi.stubEnv('DOCKER_TLS_VERIFY', '1')
    vi.stubEnv('DOCKER_CERT_PATH', made.client)
    await using manager = managerOf({})
    const { details } = await manager.driver('docker').probe()
    expect(details).toMatchObject({ endpoint: host(), 'endpoint source': 'DOCKER_HOST' })
    await live(manager)
  })

  it('is found by the options', async () => {
    await using manager = managerOf({ host: host(), tls: files() })
    await live(manager)
  })

  it('is not trusted when its CA is another one, or its certificate names another host', async () => {
    const expected = { code: 'PERMISSION_DENIED', hint: expect.stringContaining('tls.ca') }
    expect(await refusal({ host: host(), tls: { ...files(), ca: others.ca } })).toMatchObject(expected)
    expect(await refusal({ host: host('localhost'), tls: files() })).toMatchObject({
      ...expected,
      message: expect.stringMatching(/not trusted.*altnames/),
    })
    expect(await refusal({ host: host('localhost'), tls: { ...files(), verify: false } })).toBeUndefined()
  })

  it('does not take a client without a certificate, or with one of another CA', async () => {
    const expected = { code: 'PERMISSION_DENIED', message: expect.stringContaining('does not accept the certificate of this client') }
    expect(await refusal({ host: host(), tls: { ca: made.ca } })).toMatchObject({ ...expected, hint: expect.stringContaining('tls.cert') })
    expect(await refusal({ host: host(), tls: { ...files(others), ca: made.ca } })).toMatchObject(expected)
  })

  it('is told apart from one without TLS', async () => {
    expect(await refusal({ host: host() })).toMatchObject({ message: expect.stringMatching(/HTTP request to an HTTPS server/) })
  })

  it('needs files that can be read', async () => {
    const absent = join(folder, 'absent.pem')
    expect(await refusal({ host: host(), tls: { ...files(), ca: absent } })).toMatchObject({
      code: 'INVALID_CONFIG',
      message: expect.stringMatching(/ca file.*absent\.pem/),
    })
    const broken = join(folder, 'broken.pem')
    await writeFile(broken, 'no certificate')
    expect(await refusal({ host: host(), tls: { ...files(), cert: broken } })).toMatchObject({ code: 'INVALID_CONFIG' })
  })

  it('takes a machine that migrates, with what it wrote', async () => {
    await using here = managerOf()
    await using there = managerOf({ host: host(), tls: files() })
    await using vm = await here.driver('docker').create(idle({ networks: ['none'] }))
    await vm.start()
    await vm.exec(['sh', '-c', 'echo kept > /root/state'])
    await vm.stop({ graceMs: 0 })
    if (!vm.supports('migrate.cold')) throw new Error('cold migration is there on Docker')
    const { vm: moved } = await vm.migrate(there.lookup('docker'))
    await using arrived = await there.driver('docker').get(moved.id)
    await arrived.start()
    expect((await arrived.exec(['cat', '/root/state'])).stdout).toBe('kept\n')
    await expect(vm.status()).rejects.toMatchObject({ code: 'NOT_FOUND' })
    expect(arrived.name).toBe(vm.name)
  })
})

const hasSshd = existsSync(SSHD)
const whyNoSsh = why || (hasSshd ? '' : ' (not run: no sshd; scripts/backends up installs openssh-server)')

describe.skipIf(!requireEngine() || !hasSshd || !isRoot)(`an engine behind ssh${whyNoSsh}`, () => {
  let sshd: Sshd
  beforeAll(async () => {
    await prepare()
    sshd = await startSshd(socketPath as string)
  }, 30_000)
  afterAll(async () => {
    await sshd?.[Symbol.asyncDispose]()
  })

  it('is found by its address, and everything goes through', async () => {
    await using manager = managerOf({ host: sshd.host, sshConfig: await sshd.config() })
    expect((await manager.driver('docker').probe()).details?.endpoint).toBe(sshd.host)
    await live(manager)
  })

  it('leaves no ssh behind when its manager closes', async () => {
    const before = await children()
    const manager = managerOf({ host: sshd.host, sshConfig: await sshd.config() })
    await manager.driver('docker').list()
    // Those of the test before may still be going.
    const ours = async () => (await children()).filter((pid) => !before.includes(pid))
    expect(await ours()).not.toEqual([])
    await manager.close()
    await vi.waitFor(async () => expect(await ours()).toEqual([]), { timeout: 10_000 })
  })

  it('is refused when its key is not known here', async () => {
    const sshConfig = await sshd.config({ knownHosts: '/dev/null' })
    expect(await refusal({ host: sshd.host, sshConfig })).toMatchObject({
      code: 'PERMISSION_DENIED',
      message: expect.stringContaining('Host key verification failed'),
      hint: expect.stringContaining('ssh 127.0.0.1'),
    })
  })

  it('refuses a key that it does not know', async () => {
    const sshConfig = await sshd.config({ key: sshd.strangersKey })
    expect(await refusal({ host: sshd.host, sshConfig })).toMatchObject({
      code: 'PERMISSION_DENIED',
      message: expect.stringContaining('Permission denied (publickey)'),
    })
  })

  it('is unavailable when nobody listens', async () => {
    expect(await refusal({ host: `ssh://127.0.0.1:${await freePort()}`, sshConfig: await sshd.config() })).toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
      message: expect.stringContaining('Connection refused'),
    })
  })
})

/** Pids of this process's children. */
async function children(): Promise<string[]> {
  const text = await readFile(`/proc/self/task/${process.pid}/children`, 'utf8')
  return text.split(' ').filter((pid) => pid !== '')
}
