/** What is Docker's alone, shown by its effect; and the engine found where nobody named it. */
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { engineSocket } from './engine.js'
import { containerNames, type DockerManager, idle, managerOf, prepare, requireEngine, socketPath, why } from './support.js'

const podman = engineSocket('VMKIT_PODMAN_SOCKET', false)
const DEFAULTS = ['/var/run/docker.sock', '/run/podman/podman.sock']
const taken = DEFAULTS.filter((path) => existsSync(path))

describe.skipIf(!requireEngine())(`what is Docker's alone${why}`, () => {
  let manager: DockerManager
  beforeAll(async () => {
    await prepare()
    manager = managerOf()
  })
  afterAll(() => manager.close())
  const handle = () => manager.driver('docker')
  const withOptions = (docker: Record<string, unknown>, changes: Parameters<typeof idle>[0] = {}) =>
    handle().create(idle({ driverOptions: { docker }, ...changes }))

  it('a seccomp profile takes a system call away', async () => {
    const profile = { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO' }] }
    await using vm = await withOptions({ securityOpt: [`seccomp=${JSON.stringify(profile)}`] })
    await vm.start()
    expect(await vm.exec(['mkdir', '/tmp/x'])).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/not permitted/) })
    await using free = await withOptions({ securityOpt: ['seccomp=unconfined'] })
    await free.start()
    expect((await free.exec(['mkdir', '/tmp/x'])).exitCode).toBe(0)
    await vm.delete({ force: true })
    await free.delete({ force: true })
  })

  it('a seccomp profile that is none is refused in the words of the engine', async () => {
    const before = await containerNames()
    const attempt = (async () => {
      await using vm = await withOptions({ securityOpt: ['seccomp={'] })
      await vm.start()
    })()
    await expect(attempt).rejects.toMatchObject({ code: 'INVALID_CONFIG', message: expect.stringMatching(/seccomp/i) })
    expect(await containerNames()).toEqual(before)
  })

  it('a health check of its own is told as it changes', async () => {
    const healthcheck = { test: ['CMD', 'test', '-f', '/tmp/ready'], intervalMs: 100, timeoutMs: 5000, retries: 1 }
    await using vm = await withOptions({ healthcheck })
    const heard: string[] = []
    const events = vm.events()
    const listening = (async () => {
      for await (const event of events) if (event.type === 'health') heard.push(event.health)
    })()
    await vm.start()
    await vm.waitFor({ until: async () => (await vm.status()).health === 'unhealthy', timeoutMs: 20_000 })
    await vm.files.write('/tmp/ready', '')
    await vm.waitFor({ healthy: true, timeoutMs: 20_000 })
    await vm.waitFor({ until: () => heard.includes('healthy'), timeoutMs: 20_000 })
    expect(heard).toEqual(['unhealthy', 'healthy'])
    await events.return?.()
    await listening
    await vm.delete({ force: true })
  })

  it('limits, kernel settings, host names and dropped capabilities are seen inside', async () => {
    await using vm = await withOptions({
      ulimits: [{ name: 'nofile', soft: 123, hard: 456 }],
      sysctls: { 'net.ipv4.ip_unprivileged_port_start': '99' },
      extraHosts: ['friend:192.0.2.7'],
      hostname: 'inner',
      readOnlyRootfs: true,
      tmpfs: { '/scratch': 'size=1m' },
      capDrop: ['ALL'],
      init: true,
      dns: ['192.0.2.53'],
    })
    await vm.start()
    const inside = async (line: string) => (await vm.exec(['sh', '-c', line])).stdout.trim()
    expect(await inside('ulimit -n')).toBe('123')
    expect(await inside('cat /proc/sys/net/ipv4/ip_unprivileged_port_start')).toBe('99')
    expect(await inside('grep friend /etc/hosts')).toMatch(/^192\.0\.2\.7\s+friend$/)
    expect(await inside('hostname')).toBe('inner')
    expect(await inside('touch /x 2>&1; echo $?')).toMatch(/Read-only file system\n1$/)
    expect(await inside('echo kept > /scratch/x && cat /scratch/x')).toBe('kept')
    expect(await inside('grep CapEff /proc/self/status')).toMatch(/0{16}$/)
    expect(await inside('cat /proc/1/comm')).toMatch(/init/)
    expect(await inside('cat /etc/resolv.conf')).toContain('192.0.2.53')
    await vm.delete({ force: true })
  })

  it('a GPU where there is no driver for one: a typed error in the words of the engine, and the machine stays created', async () => {
    await using vm = await handle().create(idle({ devices: [{ type: 'gpu', count: 1 }] }))
    await expect(vm.start()).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      message: expect.stringMatching(/could not select device driver/),
    })
    expect((await vm.status()).state).toBe('created')
  })
})

const whyNot = why || (taken.length === 0 ? '' : ` (not run: this host has ${taken.join(', ')}, which goes first)`)
describe.skipIf(!requireEngine() || taken.length > 0)(`an engine that nobody named${whyNot}`, () => {
  let folder: string
  const kept: Record<string, string | undefined> = {}
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'vmkit-docker-test-'))
    const env = {
      DOCKER_HOST: undefined,
      DOCKER_CONTEXT: undefined,
      DOCKER_CONFIG: join(folder, 'config'),
      HOME: folder,
      XDG_RUNTIME_DIR: folder,
    }
    for (const [name, value] of Object.entries(env)) {
      kept[name] = process.env[name]
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
  })
  afterAll(async () => {
    for (const [name, value] of Object.entries(kept)) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
    await rm(folder, { recursive: true })
  })
  const probe = async () => {
    const manager = managerOf({})
    const found = await manager.driver('docker').probe()
    await manager.close()
    return found
  }

  it('is nowhere: each place is listed with what it said', async () => {
    const { available, tried } = await probe()
    expect(available).toBe(false)
    expect(tried?.map(({ target }) => target.replace(folder, '~'))).toEqual([
      'unix:///var/run/docker.sock (default socket)',
      'unix://~/docker.sock (rootless socket)',
      'unix://~/.docker/run/docker.sock (Docker Desktop socket)',
      'unix:///run/podman/podman.sock (Podman socket)',
      'unix://~/podman/podman.sock (rootless Podman socket)',
    ])
    for (const { result } of tried ?? []) expect(result).toContain('ENOENT')
  })

  // The engine itself has root: what is shown is where its socket is looked for.
  it.skipIf(podman === undefined)('is at the socket of rootless Podman', async () => {
    await mkdir(join(folder, 'podman'))
    await symlink(podman as string, join(folder, 'podman/podman.sock'))
    const { engine, details } = await probe()
    expect(engine).toMatch(/^Podman/)
    expect(details?.['endpoint source']).toBe('rootless Podman socket')
  })

  it('is at the socket of rootless Docker, which goes before', async () => {
    await symlink(socketPath as string, join(folder, 'docker.sock'))
    const { engine, details } = await probe()
    expect(engine).toMatch(/^Docker Engine/)
    expect(details?.['endpoint source']).toBe('rootless socket')
  })
})
