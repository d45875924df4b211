import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DriverFiles } from '@vmkit/core/driver'
import { afterAll, expect, it } from 'vitest'
import { store } from '../src/store.js'
import { type Bench, bench, ctx } from './tools.js'

const outside = mkdtempSync(join(tmpdir(), 'vmkit-process-outside-'))
writeFileSync(join(outside, 'secret'), 'secret')
afterAll(() => rmSync(outside, { recursive: true }))

async function* bytes(text: string | Uint8Array): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text)
}

async function text(content: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const chunk of content) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

async function machine(machines: Bench): Promise<{ id: string; root: string; files: DriverFiles }> {
  const id = await machines.create(['true'])
  return { id, root: join(store(machines.stateDir).get(id).folder, 'root'), files: machines.driver.files }
}

it('no path and no link leads out of the working folder', async () => {
  await using machines = bench()
  const { id, root, files } = await machine(machines)
  symlinkSync(outside, join(root, 'door'))
  symlinkSync(join(outside, 'secret'), join(root, 'window'))
  for (const path of ['../config.json', '/etc/passwd', 'door/secret', 'window', 'a/../../config.json', `${root}/../config.json`]) {
    await expect(text(files.read(id, path, ctx))).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'path' })
    await expect(files.list(id, path, ctx)).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
  }
  for (const path of ['../new', 'door/new', '/etc/vmkit-new', '.', root]) {
    await expect(files.write(id, path, bytes('x'), {}, ctx)).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
    await expect(files.remove(id, path, ctx)).rejects.toMatchObject({ code: expect.stringMatching(/INVALID_CONFIG|NOT_FOUND/) })
  }
  await files.write(id, 'window', bytes('replaced'), {}, ctx)
  await files.remove(id, 'door', ctx)
  expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('secret')
  expect(await text(files.read(id, `${root}/window`, ctx))).toBe('replaced')
})

it('an archive whose entries would leave is refused', async () => {
  await using machines = bench()
  const { id, files } = await machine(machines)
  const make = (...args: string[]): Uint8Array => execFileSync('tar', ['-cPf', '-', '-C', outside, ...args])
  symlinkSync('/etc', join(outside, 'absolute'))
  symlinkSync('../..', join(outside, 'upwards'))
  for (const tar of [
    make(join(outside, 'secret')),
    make('--transform', 's,^,../../,', 'secret'),
    make('absolute'),
    make('upwards'),
    make('--format=pax', '--transform', `s,^,../${'x'.repeat(200)}/,`, 'secret'),
  ]) {
    await expect(files.unpack?.(id, 'in', bytes(tar), ctx)).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'tar' })
  }
  await files.unpack?.(id, 'in', bytes(make('secret')), ctx)
  expect(await text(files.read(id, 'in/secret', ctx))).toBe('secret')
  await expect(files.unpack?.(id, 'in', bytes('this is no tar archive'.repeat(100)), ctx)).rejects.toMatchObject({
    code: expect.stringMatching(/INVALID_CONFIG|BACKEND_ERROR/),
  })
})

it('files of the config are there at the start, with their modes', async () => {
  await using machines = bench()
  const files = [
    { path: 'bin/tool', content: '#!/bin/sh\necho tool\n', mode: 0o755 },
    { path: 'data', content: new Uint8Array([0, 255, 10]), mode: 0o600 },
  ]
  const { stdout, exit } = await machines.run(['sh', '-c', 'bin/tool; stat -c %a data; wc -c <data'], { files })
  expect([exit.code, stdout]).toEqual([0, 'tool\n600\n3'])
  const [summary] = await machines.driver.list({}, ctx)
  expect((await machines.driver.getInfo(summary?.id ?? '', ctx)).config.files).toEqual(files)
  await expect(machines.create(['true'], { files: [{ path: '../out', content: '', mode: 0o644 }] })).rejects.toMatchObject({
    field: 'path',
  })
  expect((await machines.driver.list({}, ctx)).length).toBe(1)
})
