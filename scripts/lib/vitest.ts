import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { ROOT, run } from './run.js'

export interface Counts {
  passed: number
  failed: number
  skipped: number
}

export interface TestRun extends Counts {
  code: number
  /** Full names of the tests that were skipped. */
  skippedTests: string[]
  /** Each failed test: its full name, and what it said first. A file that could not be loaded counts as one. */
  failedTests: string[]
}

export interface TestOptions {
  /** Path of the Node binary. Default: the one that runs this. */
  node?: string
  args?: readonly string[]
  /** Folder for `vitest.json` and for the engines' reports. */
  reports: string
  log?: string
  env?: Readonly<Record<string, string>>
}

/** Runs the tests of all projects, or of those that `args` select, and counts them. */
export async function runTests({ node = process.execPath, args = [], reports, log, env = {} }: TestOptions): Promise<TestRun> {
  const json = join(reports, 'summary', 'vitest.json')
  const command = [node, join(ROOT, 'node_modules/vitest/vitest.mjs'), 'run', '--reporter=default', '--reporter=json', ...args]
  const code = await run([...command, `--outputFile.json=${json}`], {
    // Children that look for `node` find the one under test.
    env: { ...env, VMKIT_REPORT_DIR: reports, PATH: `${dirname(node)}:${process.env.PATH}` },
    ...(log === undefined ? {} : { log }),
  })
  if (!existsSync(json)) return { code, passed: 0, failed: 1, skipped: 0, skippedTests: [], failedTests: ['no test was run: see the log'] }
  const summary = JSON.parse(await readFile(json, 'utf8')) as Summary
  const tests = summary.testResults.flatMap((file) => file.assertionResults)
  const failed = tests.filter((test) => test.status === 'failed').length
  const skippedTests = tests.filter((test) => test.status !== 'failed' && test.status !== 'passed').map((test) => test.fullName)
  return {
    code,
    passed: tests.length - failed - skippedTests.length,
    // A file that cannot be loaded, or a stray rejection, fails the run without a failed test.
    failed: code === 0 ? failed : Math.max(1, failed),
    skipped: skippedTests.length,
    skippedTests,
    failedTests: summary.testResults.flatMap(describeFailures),
  }
}

function describeFailures({ name, status, message, assertionResults }: Summary['testResults'][number]): string[] {
  const file = relative(ROOT, name)
  const failed = assertionResults.filter((test) => test.status === 'failed')
  if (failed.length === 0) return status === 'failed' ? [`${file}: ${firstLine(message)}`] : []
  return failed.map((test) => `${file} > ${test.fullName}: ${firstLine(test.failureMessages?.[0])}`)
}
const firstLine = (text = ''): string => stripVTControlCharacters(text).split('\n', 1)[0] ?? ''

interface Summary {
  testResults: {
    /** Path of the file. */
    name: string
    status: string
    message?: string
    assertionResults: { fullName: string; status: string; failureMessages?: string[] }[]
  }[]
}
