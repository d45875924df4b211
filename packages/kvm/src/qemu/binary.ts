/** Which QEMU there is: where, which version, and what it was built with. */
import { accessSync, constants, statSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { VMKitError } from '@vmkit/core/driver'
import { DRIVER } from '../errors.js'

export interface QemuBinary {
  path: string
  version: string
  /** Built with seccomp. */
  sandbox: boolean
  /** Built with 9p, by which folders of the host are mounted. */
  plan9: boolean
}

const OLDEST = { major: 7, minor: 2 }

const known = new Map<string, QemuBinary>()

/** The program itself, by path or as the shell would find it. */
export function findProgram(program: string, path = process.env.PATH ?? ''): string | undefined {
  const candidates = isAbsolute(program)
    ? [program]
    : path
        .split(':')
        .filter(isAbsolute)
        .map((folder) => join(folder, program))
  return candidates.find((candidate) => {
    try {
      accessSync(candidate, constants.X_OK)
      return statSync(candidate).isFile()
    } catch {
      return false
    }
  })
}

/** @throws VMKitError `BACKEND_UNAVAILABLE` naming what was looked for */
export async function qemuBinary(program: string): Promise<QemuBinary> {
  const path = findProgram(program)
  if (path === undefined) throw unavailable(`${program} was not found`, program, 'not found')
  // An upgrade in place is another program.
  const { mtimeMs, ino } = statSync(path)
  const key = `${path} ${ino} ${mtimeMs}`
  const found = known.get(key) ?? (await inspect(path))
  known.set(key, found)
  return found
}

async function inspect(path: string): Promise<QemuBinary> {
  const { execa } = await import('execa')
  const { stdout, failed, shortMessage } = await execa(path, ['--version'], { reject: false, stdin: 'ignore', timeout: 10_000 })
  const version = parseVersion(stdout ?? '')
  if (failed || version === undefined) throw unavailable(`${path} does not tell its version`, path, shortMessage ?? stdout ?? '')
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major < OLDEST.major || (major === OLDEST.major && minor < OLDEST.minor)) {
    throw unavailable(`${path} is QEMU ${version}, and ${OLDEST.major}.${OLDEST.minor} is the oldest that will do`, path, `QEMU ${version}`)
  }
  const help = await execa(path, ['--help'], { reject: false, stdin: 'ignore', timeout: 10_000 })
  return { path, version, sandbox: help.stdout?.includes('-sandbox on') ?? false, plan9: help.stdout?.includes('-virtfs ') ?? false }
}

export function parseVersion(text: string): string | undefined {
  return /QEMU emulator version (\d+\.\d+(?:\.\d+)?)/.exec(text)?.[1]
}

function unavailable(message: string, target: string, result: string): VMKitError {
  return new VMKitError('BACKEND_UNAVAILABLE', message, {
    driver: DRIVER,
    hint: 'Install QEMU for x86 (Debian: qemu-system-x86 and qemu-utils), or name it with the option `binary`',
    evidence: { tried: [{ target, result }] },
  })
}
