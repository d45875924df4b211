/** UEFI: code that all machines share, and variables of each machine's own. */

import { existsSync } from 'node:fs'
import { chmod, copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DRIVER, unsupportedField } from '../errors.js'
import type { BootPlan } from '../qemu/machine-spec.js'
import { FILES, type MachineFolder } from '../state/machine-folder.js'

/** Where Debian, Fedora, openSUSE and Arch put OVMF. */
const PAIRS = [
  { code: '/usr/share/OVMF/OVMF_CODE_4M.fd', variables: '/usr/share/OVMF/OVMF_VARS_4M.fd' },
  { code: '/usr/share/OVMF/OVMF_CODE.fd', variables: '/usr/share/OVMF/OVMF_VARS.fd' },
  { code: '/usr/share/edk2/ovmf/OVMF_CODE.fd', variables: '/usr/share/edk2/ovmf/OVMF_VARS.fd' },
  { code: '/usr/share/qemu/ovmf-x86_64-code.bin', variables: '/usr/share/qemu/ovmf-x86_64-vars.bin' },
  { code: '/usr/share/edk2/x64/OVMF_CODE.4m.fd', variables: '/usr/share/edk2/x64/OVMF_VARS.4m.fd' },
]

type Firmware = NonNullable<BootPlan['firmware']>

/** @throws VMKitError `UNSUPPORTED` when this host has no OVMF */
export function findFirmware(): Firmware {
  const pair = PAIRS.find(({ code, variables }) => existsSync(code) && existsSync(variables))
  if (!pair) {
    const tried = PAIRS.map(({ code }) => ({ target: code, result: 'not found' }))
    throw unsupportedField(`config.driverOptions.${DRIVER}.uefi`, 'this host has no OVMF', {
      hint: 'Install the package ovmf',
      evidence: { tried },
    })
  }
  return pair
}

/** @throws VMKitError `UNSUPPORTED` when this host has no OVMF */
export async function placeFirmware(folder: MachineFolder): Promise<Firmware> {
  const { code, variables } = findFirmware()
  await copyFile(variables, folder.firmware)
  await chmod(folder.firmware, 0o600)
  return { code, variables: FILES.firmware }
}

/** Not by a link: both machines write to theirs. Harmless without any. */
export async function copyVariables({ firmware }: Pick<BootPlan, 'firmware'>, from: string, to: string): Promise<void> {
  if (firmware) await copyFile(join(from, firmware.variables), join(to, FILES.firmware))
}
