/** What only a real engine can show, beside what the conformance kit asks of every driver. */
import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { VMKitError } from '@vmkit/core'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { engineSocket, ensureImage, IMAGE, raw, saveImage } from './engine.js'
import {
  containerNames,
  type DockerManager,
  idle,
  inspectRaw,
  managerOf,
  prepare,
  requireEngine,
  socketPath,
  tcpProxy,
  why,
} from './support.js'

/** What the system closes or ends in its own time. */
const SOON = { timeout: 10_000 }

const nextSocket = engineSocket('VMKIT_DOCKER_NEXT_SOCKET', false)
const hasCrun = requireEngine() && Object.hasOwn(await runtimesOfEngine(), 'crun')

describe.skipIf(!requireEngine())(`machines on a real engine${why}`, () => {
  let manager: DockerManager
  beforeAll(async () => {
    await prepare()
    manager = managerOf()
  })
  afterAll(() => manager.close())
  const handle = () => manager.driver('docker')

  it('gives the engine every field of the config', async () => {
    await handle().networks.create('vmkit-test-net-a')
    await handle().networks.create('vmkit-test-net-b')
    await using vm = await handle().create(
      idle({
        user: 'worker',
        workdir: '/data',
        cpus: 0.5,
        memory: '64MiB',
        pids: 20,
        labels: { team: 'a' },
        restart: { policy: 'on-failure', maxRetries: 2 },
        networks: [{ name: 'vmkit-test-net-a', aliases: ['db'] }, 'vmkit-test-net-b'],
        stop: { signal: 'SIGINT', graceMs: 3000 },
        devices: [{ type: 'host', path: '/dev/null', guestPath: '/dev/nothing' }],
        driverOptions: {
          docker: {
            init: true,
            readOnlyRootfs: true,
            tmpfs: { '/tmp': 'size=1m' },
            capAdd: ['NET_ADMIN'],
            capDrop: ['MKNOD'],
            shmSize: 2 ** 20,
            hostname: 'inner',
            securityOpt: ['no-new-privileges'],
          },
        },
      }),
    )
    await vm.start()
    const { HostConfig, Config, NetworkSettings } = await inspectRaw(vm.id)
    expect(HostConfig).toMatchObject({
      NanoCpus: 5e8,
      Memory: 2 ** 26,
      MemorySwap: 2 ** 26,
      PidsLimit: 20,
      Init: true,
      ReadonlyRootfs: true,
      ShmSize: 2 ** 20,
    })
    expect(HostConfig.RestartPolicy).toEqual({ Name: 'on-failure', MaximumRetryCount: 2 })
    expect(Config).toMatchObject({ StopSignal: 'SIGINT', StopTimeout: 3, User: 'worker' })
    expect(Object.keys(NetworkSettings.Networks).sort()).toEqual(['vmkit-test-net-a', 'vmkit-test-net-b'])
    const { stdout } = await vm.exec(['sh', '-c', 'id -un; pwd; hostname; ls /dev/nothing'])
    expect(stdout).toBe('worker\n/data\ninner\n/dev/nothing\n')
    await vm.delete({ force: true })
    await handle().networks.remove('vmkit-test-net-a')
    await handle().networks.remove('vmkit-test-net-b')
  })

  it('knows a death for lack of memory', async () => {
    await using vm = await handle().create(idle({ memory: '16MiB', command: ['tail', '/dev/zero'] }))
    await vm.start()
    expect(await vm.wait()).toMatchObject({ code: 137, signal: null, oom: true, reason: 'oom' })
  })

  it('builds an image of several layers, and runs it with its own user, entrypoint and health check', async () => {
    const context = await mkdtemp(join(tmpdir(), 'vmkit-docker-test-'))
    await writeFile(join(context, '.dockerignore'), '*.secret\n')
    await writeFile(join(context, 'a.secret'), 'x')
    await writeFile(
      join(context, 'Dockerfile'),
      [
        `FROM ${IMAGE}`,
        'ARG WORD=none',
        'COPY . /copied/',
        'RUN echo $WORD > /word',
        'HEALTHCHECK --interval=100ms --timeout=5s CMD test -f /tmp/ready',
        'USER worker',
        'ENTRYPOINT ["sh", "-c", "cat /word; ls /copied; touch /tmp/ready; while :; do sleep 0.1; done"]',
      ].join('\n'),
    )
    const steps: string[] = []
    const image = await handle().build(
      { context, tag: 'vmkit-test/layers:1', args: { WORD: 'built' } },
      { onProgress: ({ message }) => void steps.push(message ?? '') },
    )
    expect(image.reference).toBe('vmkit-test/layers:1')
    expect(steps.some((step) => /^Step \d/.test(step))).toBe(true)
    await using vm = await handle().create({ image: image.reference, pull: 'never' })
    await vm.start()
    await vm.waitFor({ healthy: true, timeoutMs: 20_000 })
    expect((await vm.status()).health).toBe('healthy')
    await vm.waitFor({ log: 'Dockerfile' })
    const lines: string[] = []
    for await (const { text } of vm.logs()) lines.push(text)
    expect(lines).toEqual(['built', 'Dockerfile'])
    await vm.delete({ force: true })
    await handle().images.remove(image.reference)
    await rm(context, { recursive: true })
  })

  it('makes no machine of a container that somebody runs from a snapshot', async () => {
    await using vm = await handle().create(idle({ name: 'vmkit-test-origin' }))
    await vm.snapshot('clean')
    const images = JSON.parse((await raw(socketPath as string, 'GET', '/images/json')).body) as { RepoTags: string[] | null }[]
    const reference = images
      .flatMap(({ RepoTags }) => RepoTags ?? [])
      .find((name) => name.startsWith('vmkit-snapshot/') && name.endsWith(':clean'))
    const { body } = await raw(socketPath as string, 'POST', '/containers/create?name=vmkit-test-foreign', { Image: reference })
    const { Id } = JSON.parse(body) as { Id: string }
    expect((await handle().list()).map(({ id }) => id)).not.toContain(Id)
    await expect(handle().get(Id)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await raw(socketPath as string, 'DELETE', `/containers/${Id}?force=1`)
  })

  it('leaves no image behind when a machine with snapshots and a clone are gone', async () => {
    const before = await snapshotReferences()
    const vm = await handle().create(idle(), { onDispose: 'detach' })
    await vm.snapshot('one')
    const clone = await vm.clone('one')
    await vm.delete()
    expect(await clone.status()).toMatchObject({ state: 'created' })
    await clone.delete()
    expect(await snapshotReferences()).toEqual(before)
  })

  it('leaves no image behind when they go at the same moment', async () => {
    const before = await snapshotReferences()
    for (let round = 0; round < 5; round += 1) {
      const vm = await handle().create(idle(), { onDispose: 'detach' })
      await vm.snapshot('one')
      const clones = await Promise.all([vm.clone('one'), vm.clone('one')])
      await Promise.all([vm, ...clones].map((each) => each.delete()))
    }
    expect(await snapshotReferences()).toEqual(before)
  })

  it('is restored once when two apps do it at the same moment, and no container is left beside it', async () => {
    const others = managerOf()
    const vm = await handle().create(idle(), { onDispose: 'detach' })
    await vm.snapshot('clean')
    for (let round = 0; round < 5; round += 1) {
      const again = await others.driver('docker').get(vm.id)
      const outcomes = await Promise.all([vm, again].map((each) => each.restore('clean').catch((error: VMKitError) => error.code)))
      expect(outcomes).toContain(undefined)
      for (const code of outcomes) expect([undefined, 'NOT_FOUND', 'CONFLICT']).toContain(code)
      expect((await containerNames()).filter((name) => name.startsWith(`/${vm.name}`))).toEqual([`/${vm.name}`])
      if (outcomes[0] !== undefined) break
    }
    await (await handle().get(vm.name)).delete()
    await others.close()
  })

  it('has no exit when it never ran and somebody else removes it', async () => {
    for (let round = 0; round < 8; round += 1) {
      const vm = await handle().create(idle(), { onDispose: 'detach' })
      const waiting = vm.wait()
      waiting.catch(() => {})
      await vm.info()
      await raw(socketPath as string, 'DELETE', `/containers/${vm.id}?force=1`)
      await expect(waiting).rejects.toMatchObject({ code: 'NOT_FOUND' })
    }
    const ran = await handle().create(idle({ command: ['sh', '-c', 'exec sleep 1000'] }), { onDispose: 'detach' })
    const exit = ran.wait()
    await ran.start()
    await raw(socketPath as string, 'DELETE', `/containers/${ran.id}?force=1`)
    expect((await exit).code).toBe(137)
  })

  it('tells how a command ended that had closed its output long before', async () => {
    await using vm = await handle().create(idle())
    await vm.start()
    expect((await vm.exec(['sh', '-c', 'exec >/dev/null 2>&1; sleep 6; exit 3'])).exitCode).toBe(3)
  })

  it('ends a timed-out command with its children on an engine that is not local', async () => {
    await using proxy = await disposable(tcpProxy())
    const remote = managerOf({ host: proxy.host })
    const vm = await remote.driver('docker').create(idle())
    await vm.start()
    // The second child's parent ends at once, so that no tree of parents leads to it.
    const result = await vm.exec(['sh', '-c', 'sleep 1000 & (sleep 1000 &); sleep 1000'], { timeoutMs: 500 })
    expect(result.timedOut).toBe(true)
    const { stdout } = await vm.exec(['sh', '-c', 'for dir in /proc/[0-9]*; do tr "\\0" " " < $dir/cmdline; echo; done'])
    expect(stdout).not.toContain('sleep 1000')
    expect((await vm.info()).addresses).toEqual([])
    await remote.close()
    await vi.waitFor(() => expect(proxy.sockets.size).toBe(0), SOON)
  })

  it('finds the engine by DOCKER_HOST, and lists what it tried when there is none', async () => {
    const before = process.env.DOCKER_HOST
    try {
      process.env.DOCKER_HOST = `unix://${socketPath}`
      const found = managerOf({})
      expect((await found.driver('docker').probe()).details?.['endpoint source']).toBe('DOCKER_HOST')
      await found.close()
      process.env.DOCKER_HOST = 'unix:///nonexistent/vmkit.sock'
      const lost = managerOf({})
      const probe = await lost.driver('docker').probe()
      expect(probe).toMatchObject({
        available: false,
        tried: [{ target: 'unix:///nonexistent/vmkit.sock (DOCKER_HOST)', result: expect.stringContaining('ENOENT') }],
      })
      await expect(lost.driver('docker').create(idle())).rejects.toMatchObject({
        code: 'BACKEND_UNAVAILABLE',
        evidence: { tried: probe.tried },
      })
      await lost.close()
    } finally {
      if (before === undefined) delete process.env.DOCKER_HOST
      else process.env.DOCKER_HOST = before
    }
  })

  // Before 20.10.27 an engine may hang for ever when many machines of one network start and end at a time (moby/libnetwork#2679).
  it.each([
    ['makes, lists and deletes', socketPath, false],
    ['makes, starts, lists and deletes', nextSocket ?? socketPath, true],
  ])('%s 200 machines, 16 at a time, and keeps no socket', { timeout: 300_000 }, async (_what, socket, areStarted) => {
    await ensureImage(socket as string)
    const before = [openSockets(), openFiles()] as const
    const many = managerOf({ socketPath: socket })
    const driver = many.driver('docker')
    const marks = { 'vmkit-test-many': 'true' }
    const names = Array.from({ length: 200 }, (_, index) => `vmkit-test-many-${index}`)
    const each = async (work: (name: string) => Promise<unknown>) => {
      const queue = [...names]
      await Promise.all(
        Array.from({ length: 16 }, async () => {
          for (let name = queue.pop(); name !== undefined; name = queue.pop()) await work(name)
        }),
      )
    }
    await each(async (name) => {
      const vm = await driver.create({ name, image: IMAGE, pull: 'never', command: ['true'], labels: marks }, { onDispose: 'detach' })
      if (areStarted) await vm.start()
    })
    expect(await driver.list({ labels: marks })).toHaveLength(200)
    await each(async (name) => (await driver.get(name)).delete({ force: true }))
    expect(await driver.list({ labels: marks })).toEqual([])
    await many.close()
    await vi.waitFor(() => {
      expect(openSockets()).toBeLessThanOrEqual(before[0])
      expect(openFiles()).toBeLessThanOrEqual(before[1])
    }, SOON)
  })

  it.skipIf(!hasCrun)(
    `runs under crun, or says in its words why not${hasCrun ? '' : ' (not run: the engine has no runtime crun)'}`,
    async () => {
      await using vm = await handle().create(idle({ driverOptions: { docker: { runtime: 'crun' } } }))
      expect((await vm.info()).details).toMatchObject({ runtime: 'crun' })
      const refusal = await vm.start().then(
        () => undefined,
        (error: unknown) => error,
      )
      if (refusal === undefined) expect((await vm.exec(['echo', 'here'])).stdout).toBe('here\n')
      else {
        // crun 1.8 on a host whose cgroups are hybrid.
        expect(refusal).toMatchObject({
          code: expect.stringMatching(/BACKEND_ERROR|UNSUPPORTED/),
          message: expect.stringMatching(/cgroup/),
        })
        expect((await vm.status()).state).toBe('created')
      }
      await vm.delete({ force: true })
    },
  )

  describe('bad input is one typed error in the words of the engine, and leaves nothing', () => {
    const name = 'vmkit-test-bad'
    const cases: [string, Parameters<typeof idle>[0], string, RegExp, string][] = [
      ['an image that does not exist', { image: 'vmkit-test/nothing:1' }, 'IMAGE_NOT_FOUND', /no image vmkit-test\/nothing:1/, 'image'],
      [
        'a mount of a folder that is not there',
        { mounts: [{ source: '/nonexistent/vmkit', target: '/x' }] },
        'INVALID_CONFIG',
        /bind source path does not exist/,
        'mounts.0.source',
      ],
      [
        'a target that the engine refuses',
        { mounts: [{ source: '/tmp', target: '/' }] },
        'INVALID_CONFIG',
        /destination can't be '\/'/,
        'mounts.0.target',
      ],
      ['too little memory', { memory: 4096 }, 'INVALID_CONFIG', /minimum memory limit/i, 'memory'],
      ['more CPUs than there are', { cpus: 4096 }, 'INVALID_CONFIG', /range of cpus/i, 'cpus'],
      ['a network that is not there', { networks: ['vmkit-test-nonet'] }, 'NOT_FOUND', /network/i, 'networks.0'],
      [
        'an unknown runtime',
        { driverOptions: { docker: { runtime: 'nosuch' } } },
        'INVALID_CONFIG',
        /runtime/i,
        'driverOptions.docker.runtime',
      ],
      ['an environment variable without a name', { env: { '': 'x' } }, 'INVALID_CONFIG', /config\.env/, 'env'],
      ['an environment variable with a NUL', { env: { A: 'x\0y' } }, 'INVALID_CONFIG', /config\.env/, 'env.A'],
      ['a reference with shell characters', { image: 'a;rm$(x)' }, 'INVALID_CONFIG', /invalid reference format/, 'image'],
      ['a user that the image does not know', { user: 'nosuch' }, 'INVALID_CONFIG', /unable to find user|no matching entries/, 'user'],
      [
        'a device that is not there',
        { devices: [{ type: 'host', path: '/dev/nosuch' }] },
        'INVALID_CONFIG',
        /\/dev\/nosuch/,
        'devices.0.path',
      ],
    ]
    it.each(cases)('%s', async (_what, changes, code, words, field) => {
      const attempt = (async () => {
        const vm = await handle().create(idle({ name, ...changes }), { onDispose: 'detach' })
        await vm.start().finally(() => vm.delete({ force: true }))
      })()
      await expect(attempt).rejects.toMatchObject({ code, message: expect.stringMatching(words), field: `config.${field}` })
      expect(await containerNames()).not.toContain(`/${name}`)
    })

    it("a name that is taken, by a container that is not vmkit's", async () => {
      await raw(socketPath as string, 'POST', `/containers/create?name=${name}`, { Image: IMAGE, Cmd: ['true'] })
      const before = await containerNames()
      await expect(handle().create(idle({ name }))).rejects.toMatchObject({
        code: 'ALREADY_EXISTS',
        message: expect.stringMatching(/already in use by container/),
        field: 'config.name',
      })
      expect(await containerNames()).toEqual(before)
      await raw(socketPath as string, 'DELETE', `/containers/${name}?force=1`)
    })

    it('a host port that is taken: the machine stays created, and starts when it is free', async () => {
      const server = createServer()
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      const { port } = server.address() as AddressInfo
      await using vm = await handle().create(idle({ ports: [{ guest: 80, host: port }] }))
      await expect(vm.start()).rejects.toMatchObject({
        code: 'CONFLICT',
        message: expect.stringMatching(/address already in use/),
        field: 'config.ports.0.host',
      })
      expect((await vm.status()).state).toBe('created')
      await new Promise((resolve) => server.close(resolve))
      await vm.start()
      expect((await vm.endpoint(80)).port).toBe(port)
      await vm.delete({ force: true })
    })

    it('a snapshot tag with shell characters', async () => {
      await using vm = await handle().create(idle())
      for (const tag of ['a;rm -rf /', '$(id)', '../up', '-x', 'a b']) {
        await expect(vm.snapshot(tag)).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'tag' })
      }
      expect(await vm.snapshots()).toEqual([])
    })

    it('a program that is not there: the machine stays created', async () => {
      await using vm = await handle().create(idle({ command: ['/nonexistent/program'] }))
      await expect(vm.start()).rejects.toMatchObject({
        code: 'INVALID_CONFIG',
        message: expect.stringContaining('/nonexistent/program'),
        field: 'config.command.0',
      })
      expect((await vm.status()).state).toBe('created')
    })

    it('a volume that the failed create had made is gone again', async () => {
      const volumes = [{ name: 'vmkit-test-volume', target: '/v' }]
      await expect(handle().create(idle({ name, volumes, files: [{ path: '/etc/passwd/x', content: 'x' }] }))).rejects.toBeInstanceOf(
        VMKitError,
      )
      expect((await handle().volumes.list()).map((volume) => volume.name)).not.toContain('vmkit-test-volume')
      expect(await containerNames()).not.toContain(`/${name}`)
    })

    it('a half-written image archive', async () => {
      const before = (await handle().images.list()).length
      async function* half() {
        let sent = 0
        for await (const chunk of saveImage(socketPath as string, IMAGE)) {
          sent += chunk.length
          yield chunk
          if (sent > 300_000) return
        }
      }
      await expect(handle().images.import(half())).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
      expect((await handle().images.list()).length).toBe(before)
    })

    it('a half-written tar into a machine', async () => {
      await using vm = await handle().create(idle())
      await expect(vm.copyIn('/data', Buffer.alloc(700, 'x'))).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
    })
  })

  async function snapshotReferences(): Promise<string[]> {
    const images = JSON.parse((await raw(socketPath as string, 'GET', '/images/json?all=1')).body) as { RepoTags: string[] | null }[]
    return images
      .flatMap(({ RepoTags }) => RepoTags ?? [])
      .filter((reference) => /^vmkit-(snapshot|base)\//.test(reference))
      .sort()
  }
})

it('importing the driver loads no engine client', () => {
  const script =
    "import('@vmkit/docker').then(() => console.log(Object.keys(require('node:module')._cache ?? {}).filter((path) => path.includes('dockerode')).length))"
  const output = execFileSync(process.execPath, ['-e', script], { cwd: import.meta.dirname, encoding: 'utf8' })
  expect(output.trim()).toBe('0')
})

async function runtimesOfEngine(): Promise<object> {
  return (JSON.parse((await raw(socketPath as string, 'GET', '/info')).body) as { Runtimes: object }).Runtimes
}

/** Connections of this process to the engine. */
function openSockets(): number {
  const resources = process.getActiveResourcesInfo()
  return resources.filter((name) => name === 'PipeWrap').length
}

/** Files, pipes and sockets of this process. */
function openFiles(): number {
  return readdirSync('/proc/self/fd').length
}

async function disposable<T extends { close(): Promise<void> }>(made: Promise<T>): Promise<T & AsyncDisposable> {
  const value = await made
  return Object.assign(value, { [Symbol.asyncDispose]: () => value.close() })
}
