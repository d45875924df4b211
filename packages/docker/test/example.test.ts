import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { IMAGE } from './engine.js'
import { containerNames, managerOf, prepare, requireEngine, socketPath, why } from './support.js'

it.skipIf(!requireEngine())(`the example of the README does what it says${why}`, async () => {
  await prepare()
  await using manager = managerOf()
  const docker = manager.driver('docker')
  const context = mkdtempSync(join(tmpdir(), 'vmkit-docker-example-'))
  const tag = `vmkit-test/example-${process.pid}:1`
  try {
    writeFileSync(
      join(context, 'Dockerfile'),
      `FROM ${IMAGE}\nRUN echo there > /tmp/index.html\nCMD ["httpd", "-f", "-p", "80", "-h", "/tmp"]\n`,
    )
    await docker.build({ context, tag })
    const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--import', 'tsx', fileURLToPath(new URL('example.ts', import.meta.url)), tag],
      { env: { ...env, DOCKER_HOST: `unix://${socketPath}` } },
    )
    expect(stdout).toBe('200\n')
    expect(await containerNames()).not.toContain('/web')
  } finally {
    await docker.images.remove(tag).catch(() => {})
    rmSync(context, { recursive: true })
  }
})
