import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { bench, ctx } from './tools.js'

it('a command that cannot be run is refused with its field, and the machine stays created', async () => {
  await using machines = bench()
  const script = join(machines.stateDir, 'script')
  writeFileSync(script, '#!/nonexistent/interpreter\n')
  chmodSync(script, 0o755)
  for (const [command, code] of [
    ['vmkit-no-such-program', 'INVALID_CONFIG'],
    ['/nonexistent/program', 'INVALID_CONFIG'],
    [script, 'INVALID_CONFIG'],
    ['/etc/passwd', 'PERMISSION_DENIED'],
    ['/tmp', 'PERMISSION_DENIED'],
  ] as const) {
    const id = await machines.create([command])
    await expect(machines.driver.start(id, ctx)).rejects.toMatchObject({ code, field: 'config.command.0' })
    expect((await machines.driver.getStatus(id, ctx)).state).toBe('created')
    await machines.driver.delete(id, { force: false }, ctx)
  }
})

it('a workdir that is not there is refused with its field', async () => {
  await using machines = bench()
  const id = await machines.create(['true'], { workdir: '/nonexistent' })
  await expect(machines.driver.start(id, ctx)).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'config.workdir' })
})

it('finds the program in the PATH of the machine, from its workdir, as execvp does', async () => {
  await using machines = bench()
  const bin = join(machines.stateDir, 'bin')
  mkdirSync(bin)
  writeFileSync(join(bin, 'tool'), '#!/bin/sh\necho "tool $1"\n')
  chmodSync(join(bin, 'tool'), 0o755)
  expect((await machines.run(['tool', 'x'], { env: { PATH: `/nonexistent:${bin}:/bin` } })).stdout).toBe('tool x')
  expect((await machines.run(['./bin/tool', 'y'], { workdir: machines.stateDir })).stdout).toBe('tool y')
})

it('arguments and environment come through as they are', async () => {
  await using machines = bench()
  const values = ['', ' ', '-n', '--', '$(id)', '`id`', "'", '"', '\\', '\\n', 'a\nb', '*', '~', 'ü✓𝄞', '%s', ';reboot']
  const env = {
    IFS: 'x',
    PS4: '$(id)',
    BASH_ENV: '/x',
    ENV: '/x',
    LD_LIBRARY_PATH: '',
    'dotted.name': 'a b',
    'BASH_FUNC_read%%': '() { echo pwned; }',
    UID: '77',
    PPID: '1',
    VALUE: values.join('|'),
    _x: '1',
  }
  const { stdout } = await machines.run(
    [process.execPath, '-e', 'console.log(JSON.stringify({ args: process.argv.slice(1), env: process.env }))', '--', ...values],
    { env: { ...env, PATH: process.env.PATH ?? '' } },
  )
  const told = JSON.parse(stdout)
  expect(told.args).toEqual(values)
  expect(told.env).toMatchObject(env)
  expect(told.env.NODE_EXTRA_CA_CERTS).toBeUndefined()
  expect(told.env.VITEST).toBeUndefined()
})

it('names and ids that are paths lead nowhere', async () => {
  await using machines = bench()
  await machines.create(['true'], { name: 'real' })
  for (const id of ['..', '../..', 'real/../real', '~000000000000', '../real~000000000000', 'real~00000000000g', '', 'a\0b']) {
    await expect(machines.driver.getStatus(id, ctx)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(machines.driver.delete(id, { force: true }, ctx)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(machines.driver.find(id, ctx)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  }
})

it('an id refuses its successor', async () => {
  await using machines = bench()
  const old = await machines.create(['true'], { name: 'same' })
  await machines.driver.delete(old, { force: false }, ctx)
  const next = await machines.create(['true'], { name: 'same' })
  await expect(machines.driver.start(old, ctx)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  expect((await machines.driver.getStatus(next, ctx)).state).toBe('created')
})
