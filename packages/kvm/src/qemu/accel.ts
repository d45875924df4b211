/** KVM or TCG: what truly runs a guest on this host, and why. */
import { closeSync, openSync, readFileSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { VMKitError } from '@vmkit/core/driver'
import { bootId, readJson, writeJson } from '@vmkit/core/state-folder'
import { DRIVER } from '../errors.js'
import type { QemuBinary } from './binary.js'
import type { Accelerator } from './machine-spec.js'
import { tinyGuest } from './tiny-guest.js'

export interface AccelChoice {
  accel: Accelerator
  /** Why not KVM, or what shows that KVM works. */
  reason: string
}

const TEXT = 'a guest runs'
const TRIAL_MS = 5000
const LOOK_MS = 10

/** Why `/dev/kvm` cannot be opened: `PERMISSION_DENIED` where it may not, `UNSUPPORTED` where there is none. */
export function whyNoKvm(device = '/dev/kvm'): VMKitError | undefined {
  try {
    closeSync(openSync(device, 'r+'))
    return undefined
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return new VMKitError('UNSUPPORTED', `this host has no ${device}`)
    if (code !== 'EACCES' && code !== 'EPERM') return new VMKitError('UNSUPPORTED', `${device} cannot be opened (${code})`)
    const hint = `Let this user open ${device}, on Debian as a member of the group kvm, or leave the accelerator to vmkit`
    return new VMKitError('PERMISSION_DENIED', `this user may not open ${device} (${code})`, { hint })
  }
}

/** Whether the processor says that it can run guests. A paravirtual host may offer /dev/kvm without: then small guests run and Linux hangs. */
export function hasVirtualization(cpuinfo: string): boolean {
  return /^flags\s*:.*\b(vmx|svm)\b/m.test(cpuinfo)
}

/** @throws VMKitError `UNSUPPORTED` when KVM is wanted and not there, `PERMISSION_DENIED` when it may not be opened */
export async function chooseAccel(
  wanted: Accelerator | 'auto',
  binary: QemuBinary,
  stateDir: string,
  signal: AbortSignal,
): Promise<AccelChoice> {
  if (wanted === 'tcg') return { accel: 'tcg', reason: 'asked for' }
  const problem = whyNoKvm()
  if (wanted === 'kvm') {
    if (problem === undefined) return { accel: 'kvm', reason: 'asked for' }
    const { code, message, hint } = problem
    throw new VMKitError(code, `KVM cannot be used: ${message}`, { driver: DRIVER, field: 'accel', hint })
  }
  if (problem !== undefined) return { accel: 'tcg', reason: problem.message }
  if (!hasVirtualization(readFileSync('/proc/cpuinfo', 'latin1'))) {
    return {
      accel: 'tcg',
      reason:
        'the processor shows neither vmx nor svm (a nested or paravirtual host): /dev/kvm opens, but an ordinary Linux guest hangs under it',
    }
  }
  const failure = await triedBefore(binary, stateDir, signal)
  return failure === null ? { accel: 'kvm', reason: 'a tiny guest ran under it' } : { accel: 'tcg', reason: failure }
}

/** The trial's outcome holds for as long as the host is up and QEMU is the same. */
async function triedBefore(binary: QemuBinary, stateDir: string, signal: AbortSignal): Promise<string | null> {
  const file = join(stateDir, 'kvm-trial.json')
  const key = `${bootId()} ${binary.path} ${binary.version}`
  const cached = readJson<{ key: string; failure: string | null }>(file)
  if (cached?.key === key) return cached.failure
  const failure = await trial(binary, 'kvm', signal)
  try {
    writeJson(file, { key, failure })
  } catch {
    // No state folder yet: it is tried again next time.
  }
  return failure
}

/** Runs the smallest guest. `null` when it wrote its text, else what happened instead. */
async function trial(binary: QemuBinary, accel: Accelerator, signal: AbortSignal): Promise<string | null> {
  const { execa } = await import('execa')
  const folder = await mkdtemp(join(tmpdir(), 'vmkit-trial-'))
  const ended = new AbortController()
  try {
    await writeFile(join(folder, 'guest.rom'), tinyGuest(TEXT))
    const running = execa(
      binary.path,
      [
        ...['-no-user-config', '-nodefaults', '-display', 'none', '-machine', 'pc', '-accel', accel, '-cpu', 'qemu64', '-m', '16'],
        ...['-chardev', 'file,id=com1,path=out', '-serial', 'chardev:com1', '-bios', 'guest.rom'],
      ],
      {
        cwd: folder,
        stdin: 'ignore',
        reject: false,
        timeout: TRIAL_MS,
        cancelSignal: AbortSignal.any([signal, ended.signal]),
        forceKillAfterDelay: 100,
      },
    )
    let over = false
    void running.finally(() => {
      over = true
    })
    while (!over) {
      if ((await readFile(join(folder, 'out'), 'latin1').catch(() => '')).includes(TEXT)) {
        ended.abort()
        await running
        return null
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
    }
    signal.throwIfAborted()
    const { timedOut, stderr } = await running
    return timedOut
      ? `a tiny guest did not run under it within ${TRIAL_MS} ms`
      : `QEMU failed under it: ${String(stderr).trim().slice(-500)}`
  } finally {
    ended.abort()
    await rm(folder, { recursive: true, force: true })
  }
}
