import { existsSync, readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const root = fileURLToPath(new URL('.', import.meta.url))

// One project per workspace, named by its folder: `vitest --project packages/core`.
const projects = ['packages', 'examples', 'tests']
  .flatMap((parent) => readdirSync(`${root}${parent}`).map((name) => `${parent}/${name}`))
  .concat('bench', 'scripts')
  .filter((folder) => folder === 'scripts' || existsSync(`${root}${folder}/package.json`))

export default defineConfig({
  test: {
    // The files of a package share its engines, with fixed names, whole lists and outages; so they take turns, however many cores there are.
    fileParallelism: false,
    projects: projects.map((name) => ({
      test: {
        name,
        root: `${root}${name}`,
        include: ['src/**/*.test.ts', 'test/**/*.test.ts', 'lib/**/*.test.ts'],
        testTimeout: 60_000,
        hookTimeout: 60_000,
        // What those run are drivers made for a test: they tell nothing about the engines of this host.
        ...(name.startsWith('tests/') ? { env: { VMKIT_REPORT_DIR: '', VMKIT_REQUIRE_BACKENDS: '' } } : {}),
      },
    })),
  },
})
