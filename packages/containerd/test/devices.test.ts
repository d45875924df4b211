/** Device nodes of this host and CDI files, as a machine sees them. No hardware: the files name nodes that kernels have anyway. */
import { existsSync, mkdirSync, readdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { codeOf, config, on, setting } from './setting.js'

const { stateDir, runs, why, managerOf, left, prepare } = setting('devices')

/** The second of the folders that the CDI specification names: what is in it goes with the next boot. */
const FOLDER = '/var/run/cdi'
const file = (name: string) => join(FOLDER, `vmkit-test-${process.pid}-${name}`)
const touched = join(stateDir, 'touched')
/** None of those that runc lets every container have. */
const NODE = ['/dev/fuse', '/dev/loop-control', '/dev/kmsg'].find((path) => existsSync(path)) as string
let isOurs = false

describe.skipIf(!runs)(`devices on containerd 1.6${why}`, () => {
  prepare()
  beforeAll(() => {
    isOurs = !existsSync(FOLDER)
    mkdirSync(FOLDER, { recursive: true })
    writeFileSync(join(stateDir, 'library'), 'a library')
    writeFileSync(
      file('thing.json'),
      JSON.stringify({
        cdiVersion: '0.6.0',
        kind: 'vmkit.test/thing',
        containerEdits: { env: ['THING=all'] },
        devices: [
          {
            name: 'one',
            containerEdits: {
              env: ['THING_ONE=1'],
              deviceNodes: [{ path: '/dev/thing/node', hostPath: NODE, permissions: 'r' }],
              mounts: [{ hostPath: join(stateDir, 'library'), containerPath: '/usr/lib/thing', options: ['ro', 'bind'] }],
              hooks: [{ hookName: 'createRuntime', path: '/bin/touch', args: ['touch', touched] }],
            },
          },
        ],
      }),
    )
    writeFileSync(
      file('gpu.yaml'),
      'cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: vmkit-test\n  containerEdits:\n    deviceNodes:\n    - path: /dev/nvidia-test\n      hostPath: /dev/null\n',
    )
    writeFileSync(file('broken.json'), '{ "kind": ')
  })
  afterAll(() => {
    for (const name of ['thing.json', 'gpu.yaml', 'broken.json']) rmSync(file(name), { force: true })
    // Another suite may have put something there since.
    if (isOurs && readdirSync(FOLDER).length === 0) rmdirSync(FOLDER)
  })

  it('come with the permissions, variables, files and hooks that were asked for', async () => {
    const manager = managerOf()
    const vm = await manager.create(
      config({
        devices: [
          { type: 'cdi', name: 'vmkit.test/thing=one' },
          { type: 'gpu', ids: ['vmkit-test'] },
          { type: 'host', path: '/dev/zero', guestPath: '/dev/own', permissions: 'rw' },
        ],
      }),
      on,
    )
    await vm.start()
    const run = async (script: string) => (await vm.exec(['sh', '-c', script])).stdout
    expect(await run('cat /usr/lib/thing; echo; echo $THING $THING_ONE')).toBe('a library\nall 1\n')
    expect(existsSync(touched)).toBe(true)
    // Root of the machine may do what the permissions say, and no more.
    expect(await run('(: < /dev/thing/node) 2>&1 && echo open')).toBe('open\n')
    expect(await run('(: > /dev/thing/node) 2>&1')).toContain('Operation not permitted')
    expect(await run('echo x > /dev/nvidia-test && echo there')).toBe('there\n')
    expect(await run('cat /dev/own | head -c 2 | od -An -tx1')).toBe(' 00 00\n')
    await vm.delete({ force: true })
    expect(await left()).toEqual([])
  })

  it('that are none are refused by name, before anything is made', async () => {
    const manager = managerOf()
    const create = (device: object) => codeOf(manager.create(config({ devices: [device as never] }), on))
    expect(await create({ type: 'host', path: '/dev/no-such' })).toBe('INVALID_CONFIG config.devices.0.path')
    expect(await create({ type: 'host', path: '/etc/passwd' })).toBe('INVALID_CONFIG config.devices.0.path')
    expect(await create({ type: 'host', path: '/dev/full', permissions: 'x' })).toBe('INVALID_CONFIG config.devices.0.permissions')
    expect(await create({ type: 'cdi', name: 'vmkit.test/thing=two' })).toBe('INVALID_CONFIG config.devices.0.name')
    expect(await create({ type: 'cdi', name: '../thing=one' })).toBe('INVALID_CONFIG config.devices.0.name')
    expect(await create({ type: 'gpu', ids: ['no-such'] })).toMatch(/^INVALID_CONFIG config\.devices\.0/)
    expect(await create({ type: 'pci', address: '0000:00:00.0' })).toBe('UNSUPPORTED config.devices.0')
    expect(await left()).toEqual([])
  })
})
