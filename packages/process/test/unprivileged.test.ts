import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { bench, ctx, line } from './tools.js'

const NOBODY = 65534
const isRoot = process.getuid?.() === 0
const why = isRoot ? '' : ' (not run: to run as another account needs root)'

it.skipIf(!isRoot)(`works without any right${why}`, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vmkit-process-nobody-'))
  try {
    // A copy that the account can read, with the packages it resolves.
    const here = fileURLToPath(new URL('..', import.meta.url))
    cpSync(join(here, 'dist'), join(folder, 'app', 'dist'), { recursive: true })
    cpSync(join(here, 'test', 'app.mjs'), join(folder, 'app', 'test', 'app.mjs'))
    cpSync(join(here, 'package.json'), join(folder, 'app', 'package.json'))
    const core = realpathSync(fileURLToPath(import.meta.resolve('@vmkit/core')))
    cpSync(join(core, '..'), join(folder, 'node_modules', '@vmkit', 'core', 'dist'), { recursive: true })
    cpSync(join(core, '..', '..', 'package.json'), join(folder, 'node_modules', '@vmkit', 'core', 'package.json'))
    // This Node may be in a home that the account cannot enter.
    const node = join(folder, 'app', 'node')
    cpSync(realpathSync(process.execPath), node)
    mkdirSync(join(folder, 'state'))
    chownSync(join(folder, 'state'), NOBODY, NOBODY)
    execFileSync('chmod', ['-R', 'a+rX', join(folder, 'app'), join(folder, 'node_modules')])
    chmodSync(folder, 0o755)
    const tell = (stateDir: string, action: string) => {
      const done = spawnSync(node, [join(folder, 'app', 'test', 'app.mjs'), JSON.stringify({ stateDir: join(folder, stateDir) }), action], {
        uid: NOBODY,
        gid: NOBODY,
        cwd: '/',
        env: { PATH: process.env.PATH },
        encoding: 'utf8',
      })
      expect(done.stderr).toBe('')
      return JSON.parse(done.stdout)
    }
    expect(tell('of/root', 'look')).toMatchObject({
      available: false,
      code: 'PERMISSION_DENIED',
      field: 'options.stateDir',
      hint: expect.stringContaining('stateDir'),
    })
    const told = tell('state', 'tour')
    expect(told.probe.available).toBe(true)
    expect(told.probe.missing['limits.memory']).toMatch(/root|writable|read-only|not mounted/)
    expect(told.probe.missing.resize).toBeDefined()
    expect(told).toMatchObject({
      text: 'exec\n',
      exec: { exitCode: 3, signal: null },
      paused: 'paused',
      refused: { code: 'UNSUPPORTED', field: 'config.user' },
      exit: { code: null, signal: 'SIGTERM', reason: 'signalled' },
      left: [],
    })
    expect(told.logs.sort()).toEqual([
      ['stderr', 'err'],
      ['stdout', String(NOBODY)],
    ])
  } finally {
    rmSync(folder, { recursive: true })
  }
})

it.skipIf(!isRoot)(
  `root runs a machine as another account, in its own folder, with its environment out of reach of root programs${why}`,
  async () => {
    await using machines = bench()
    chmodSync(machines.stateDir, 0o711)
    const script = 'id -u; id -G; echo "$HOME"; echo "$LD_PRELOAD"; pwd -P; touch mine && cat "$PWD/mine" && echo own; sleep 1000'
    const id = await machines.start(['sh', '-c', script], { user: 'nobody', env: { LD_PRELOAD: '', A: "it's" } })
    await line(machines.driver, id, /^(own|.*denied.*)$/)
    const session = await machines.driver.execStream(id, { command: ['sh', '-c', 'id -u; cat mine; echo "$A"'] }, ctx)
    let text = ''
    for await (const { data } of session.output) text += Buffer.from(data).toString()
    expect(text).toBe(`${NOBODY}\nit's\n`)
    const lines: string[] = []
    for await (const entry of machines.driver.logs(id, { sources: ['stdout'] }, ctx)) lines.push(entry.text)
    expect(lines.slice(0, 2)).toEqual([String(NOBODY), String(NOBODY)])
    await machines.driver.stop(id, { graceMs: 2000 }, ctx)
  },
)

it('refuses an account that is not there', async () => {
  await using machines = bench()
  await expect(machines.create(['true'], { user: 'nosuchuser' })).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'config.user' })
})
