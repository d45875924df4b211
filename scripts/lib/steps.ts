import { execFileSync } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { installNode, OTHER_NODES } from './node-versions.js'
import { describeReports, freshFolder, readReports, unexplained } from './reports.js'
import { ROOT, readLog, run } from './run.js'
import { type Counts, runTests, type TestRun } from './vitest.js'
import { publicPackages, typedFolders, workspaces } from './workspaces.js'

export interface Outcome extends Counts {
  /** Shown whether or not the step failed. */
  note?: string
}

export interface Step {
  name: string
  /** Whether the stages that follow make no sense when it fails. */
  essential?: boolean
  run(log: string): Promise<Outcome>
}

/** Steps that run side by side, so many at a time; whoever is free takes the next. */
export interface Stage {
  steps: Step[]
  parallel: number
}

/** A step that is one command, or the same command for several folders; each counts as one. */
function commands(name: string, ...lines: (readonly string[])[]): Step {
  return {
    name,
    async run(log) {
      let failed = 0
      for (const line of lines) if ((await run(line, { log })) !== 0) failed++
      return { passed: lines.length - failed, failed, skipped: 0 }
    },
  }
}

const build: Step = { ...commands('build', ['npm', 'run', '--silent', 'build']), essential: true }

/** The engines, each with the version that answered. */
const backends: Step = {
  name: 'backends up',
  essential: true,
  async run(log) {
    const ended = await commands('', ['scripts/backends', 'up']).run(log)
    const proved = (await readLog(log)).split('\n').filter((line) => line.includes(' proved: '))
    return { ...ended, note: proved.join('\n') }
  },
}

/** By path: both TypeScripts call themselves `tsc`. */
const typescript7 = (folder: string) => [process.execPath, join(ROOT, 'node_modules/typescript7/bin/tsc'), '-p', folder]

/** All folders in one process, which takes a third of the time; its exit code is how many failed. */
const typescript6: Step = {
  name: 'typescript 6',
  async run(log) {
    const code = await run([process.execPath, '--import', 'tsx', 'scripts/typecheck.ts'], { log })
    const all = typedFolders().length
    const failed = Math.min(code, all)
    return { passed: all - failed, failed, skipped: 0 }
  },
}

const script = (name: string, ...args: string[]): string[] => ['npm', 'run', '--silent', name, ...(args.length > 0 ? ['--', ...args] : [])]

/** What needs no engine. */
const checks = (): Step[] => [
  typescript6,
  commands('typescript 7', ...typedFolders().map(typescript7)),
  commands('biome', script('check:biome')),
  commands('knip', script('check:knip')),
  commands('sherif', script('check:sherif')),
  commands('lockfile', script('check:lockfile')),
  commands('publint', ...publicPackages().map((folder) => script('check:publint', folder))),
  commands('attw', ...publicPackages().map((folder) => script('check:attw', folder))),
]

/**
 * The projects by the engine that they share: those of one group run one after another, for they measure time. Two groups at a
 * time, the longest first; whatever is not named is in the last.
 */
const NAMED = {
  'virtual machines': ['packages/kvm', 'examples/kvm-cloud-init'],
  containerd: ['packages/containerd', 'packages/kata', 'examples/containerd-job'],
  docker: ['packages/docker', 'examples/docker-web', 'examples/same-image-everywhere'],
}
const groups: Readonly<Record<string, readonly string[]>> = {
  ...NAMED,
  'all the rest': [...workspaces(), 'scripts'].filter((project) => !Object.values(NAMED).flat().includes(project)),
}
const reportsOf = (group: string): string => `verify/${group.replace(/[^a-z]+/g, '-')}`

/** Tests on the Node that runs this; a missing engine fails. */
const tests = ([group, projects]: readonly [string, readonly string[]]): Step => ({
  name: `${group}, Node ${process.versions.node}`,
  async run(log) {
    const reports = await freshFolder(reportsOf(group))
    const result = await runTests({ reports, log, args: selecting(projects), env: requireBackends() })
    const silent = unexplained(result.skippedTests, await readReports([reports]))
    if (silent.length === 0) return { ...result, ...failures(result) }
    // A skip without a reason is a test that somebody forgot.
    const counts = { ...result, failed: result.failed + silent.length, skipped: result.skipped - silent.length }
    return { ...counts, note: `${failures(result).note ?? ''}\nSkipped without a reason:\n  ${silent.join('\n  ')}` }
  },
})
/** Repeated at the end, where a reader of a long output looks first. */
const failures = ({ failedTests }: TestRun): { note?: string } =>
  failedTests.length === 0 ? {} : { note: `Failed:\n  ${failedTests.join('\n  ')}` }

/** Every driver has shown itself on its engine: a test that was never run is not a pass. */
const engines: Step = {
  name: 'every engine tested',
  async run() {
    const reports = await readReports(Object.keys(groups).map((group) => join(ROOT, '.reports', reportsOf(group))))
    const failed = reports.filter((report) => !report.tested).length
    return { passed: reports.length - failed, failed, skipped: 0, note: describeReports(reports) }
  },
}

/** What a version of Node can change. What an engine can change is shown once: its tests take minutes. */
const ENGINELESS = ['core', 'mock', 'process']

function onNode(major: string): Step {
  return {
    name: `core, mock, process, Node ${major}`,
    async run(log) {
      await mkdir(dirname(log), { recursive: true })
      const node = await installNode(major, log)
      const version = execFileSync(node, ['--version'], { encoding: 'utf8' }).trim()
      const reports = await freshFolder(`verify/node-${major}`)
      const result = await runTests({
        node,
        reports,
        log,
        args: selecting(ENGINELESS.map((name) => `packages/${name}`)),
        env: requireBackends(),
      })
      return { ...result, note: [`Node ${major} is ${version}`, failures(result).note].filter(Boolean).join('\n') }
    },
  }
}

const selecting = (projects: readonly string[]): string[] => projects.flatMap((project) => ['--project', project])

function requireBackends(): Record<string, string> {
  const lines = execFileSync(join(ROOT, 'scripts/backends'), ['env'], { encoding: 'utf8' }).split('\n').filter(Boolean)
  const pairs = lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)] as const)
  return { ...Object.fromEntries(pairs), VMKIT_REQUIRE_BACKENDS: '1' }
}

/** `npm run verify`, in order. The other Nodes need no engine, so they go beside the groups. */
export const everything = (): Stage[] => [
  { steps: [build], parallel: 1 },
  { steps: [backends, ...checks()], parallel: 2 },
  { steps: [...Object.entries(groups).map(tests), ...OTHER_NODES.map(onNode)], parallel: 2 },
  { steps: [engines], parallel: 1 },
]

/** `npm run check`: what can be said without running a test. */
export const onlyChecks = (): Stage[] => [
  { steps: [build], parallel: 1 },
  { steps: checks(), parallel: 2 },
]
