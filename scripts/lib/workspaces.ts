import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './run.js'

/** Folders with a tsconfig.json, relative to the root, `.` (the scripts) included. */
export function typedFolders(): string[] {
  return ['.', ...workspaces()].filter((folder) => existsSync(join(ROOT, folder, 'tsconfig.json')))
}

/** Folders of the packages that are published. */
export function publicPackages(): string[] {
  return workspaces().filter((folder) => manifest(folder).private !== true)
}

/** Folders of all workspaces, relative to the root. */
export function workspaces(): string[] {
  const patterns = manifest('.').workspaces ?? []
  const folders = patterns.flatMap((pattern) =>
    pattern.endsWith('/*') ? readdirSync(join(ROOT, pattern.slice(0, -2))).map((name) => `${pattern.slice(0, -2)}/${name}`) : [pattern],
  )
  return folders.filter((folder) => existsSync(join(ROOT, folder, 'package.json')))
}

function manifest(folder: string): { private?: boolean; workspaces?: string[] } {
  return JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8'))
}
