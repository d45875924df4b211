/** A container's name is the engine's; what vmkit remembers in labels cannot change with it. */
import { readBundle } from '@vmkit/oci'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { engineSocket, ensureImage, IMAGE, raw } from './engine.js'
import { containerNames, type DockerManager, idle, managerOf, prepare, requireEngine, socketPath, why } from './support.js'

const nextSocket = engineSocket('VMKIT_DOCKER_NEXT_SOCKET', false)

describe.skipIf(!requireEngine())(`a renamed machine${why}`, () => {
  let manager: DockerManager
  beforeAll(async () => {
    await prepare()
    manager = managerOf()
  })
  afterAll(() => manager.close())
  const handle = () => manager.driver('docker')
  const rename = (id: string, name: string) => raw(socketPath as string, 'POST', `/containers/${id}/rename?name=${name}`)

  it('is followed when somebody else renames it: info, restore and bundle have its name of now', async () => {
    await using vm = await handle().create(idle({ name: 'vmkit-test-before' }))
    await vm.snapshot('clean')
    expect((await rename(vm.id, 'vmkit-test-behind')).status).toBe(204)
    const { name, config } = await vm.info()
    expect([name, config.name]).toEqual(['vmkit-test-behind', 'vmkit-test-behind'])
    await using found = await handle().get('vmkit-test-behind')
    expect(found.id).toBe(vm.id)
    await vm.restore('clean')
    expect(await containerNames()).toContain('/vmkit-test-behind')
    expect((await vm.info()).config.name).toBe('vmkit-test-behind')
    expect((await rename(vm.id, 'vmkit-test-again')).status).toBe(204)
    expect((await vm.info()).name).toBe('vmkit-test-again')
    const bundle = await readBundle(vm.exportBundle(), {})
    expect(bundle.config.name).toBe('vmkit-test-again')
    await bundle[Symbol.asyncDispose]()
  })

  it('is told once; the renaming inside a restore is not', async () => {
    await using vm = await handle().create(idle({ name: 'vmkit-test-told' }))
    await vm.snapshot('clean')
    const told: string[] = []
    const events = vm.events()
    let pull = events.next()
    await vm.restore('clean')
    await vm.rename('vmkit-test-told-2')
    await vm.start()
    for (;;) {
      const { value } = await pull
      told.push(value.type === 'renamed' ? `${value.from} is ${value.name}` : `${value.type} ${value.name}`)
      if (value.type === 'started') break
      pull = events.next()
    }
    await events.return?.()
    expect(told.filter((line) => !line.startsWith('deleted'))).toEqual([
      'restored vmkit-test-told',
      'vmkit-test-told is vmkit-test-told-2',
      'started vmkit-test-told-2',
    ])
  })

  it("may not take the name of a container that is not vmkit's", async () => {
    const { body } = await raw(socketPath as string, 'POST', '/containers/create?name=vmkit-test-foreign', { Image: IMAGE, Cmd: ['true'] })
    const { Id } = JSON.parse(body) as { Id: string }
    await using vm = await handle().create(idle({ name: 'vmkit-test-wants' }))
    await expect(vm.rename('vmkit-test-foreign')).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
      message: expect.stringContaining('vmkit-test-foreign'),
    })
    expect((await vm.info()).name).toBe('vmkit-test-wants')
    await raw(socketPath as string, 'DELETE', `/containers/${Id}?force=1`)
  })

  it.skipIf(nextSocket === undefined)('migrates under its name of now', async () => {
    await ensureImage(nextSocket as string)
    const other = managerOf({ socketPath: nextSocket })
    const vm = await handle().create(idle({ name: 'vmkit-test-stays' }))
    await vm.rename('vmkit-test-goes')
    if (!vm.supports('migrate.cold')) throw new Error(vm.missing['migrate.cold'])
    const { vm: arrived } = await vm.migrate(other.driver('docker') as never)
    expect([arrived.name, (await arrived.info()).config.name]).toEqual(['vmkit-test-goes', 'vmkit-test-goes'])
    await arrived.delete({ force: true })
    await other.close()
  })
})
