import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const APPS = fileURLToPath(new URL('../apps', import.meta.url))
const PUBLIC = ['core', 'conformance', 'containerd', 'docker', 'kata', 'kvm', 'mock', 'oci', 'process'] as const

type Package = (typeof PUBLIC)[number]

export interface Workshop {
  /** A copy of this app, outside the repository, with these packages installed from their tarballs and from npm. */
  app(name: string, packages: readonly Package[], ...fromNpm: string[]): Promise<string>
  remove(): Promise<void>
}

/** Packs the public packages as `npm publish` would. */
export async function openWorkshop(): Promise<Workshop> {
  // Outside the repository, where an import cannot be resolved by the workspaces' node_modules.
  const folder = await mkdtemp(join(tmpdir(), 'vmkit-packaging-'))
  const tarballs = await pack(folder)
  return {
    async app(name, packages, ...fromNpm) {
      const target = join(folder, name)
      await mkdir(target)
      await cp(join(APPS, name), target, { recursive: true })
      await npm(target, 'install', '--no-package-lock', ...packages.map((each) => tarballs[each]), ...fromNpm)
      return target
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}

async function pack(folder: string): Promise<Record<Package, string>> {
  const folders = PUBLIC.map((name) => join(ROOT, 'packages', name))
  const output = await npm(ROOT, 'pack', '--json', '--pack-destination', folder, ...folders)
  const packed: unknown = JSON.parse(output)
  // npm 12 answers with an object by package name, npm 10 and 11 with an array.
  const files = Object.values(packed as Record<string, { name: string; filename: string }>)
  return Object.fromEntries(files.map(({ name, filename }) => [name.slice('@vmkit/'.length), join(folder, filename)])) as Record<
    Package,
    string
  >
}

/** Runs a program, by default Node, and resolves with its stdout. Rejects with all it said when it fails. */
export async function run(cwd: string, command: readonly string[], program = process.execPath): Promise<string> {
  const { NODE_EXTRA_CA_CERTS: _, NODE_OPTIONS: __, ...env } = process.env
  try {
    return (await promisify(execFile)(program, command, { cwd, env })).stdout
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string }
    throw new Error(`${program} ${command.join(' ')} failed:\n${stdout}\n${stderr}`, { cause: error })
  }
}

const npm = (cwd: string, ...args: string[]): Promise<string> => run(cwd, [...args, '--no-audit', '--no-fund', '--prefer-offline'], 'npm')
