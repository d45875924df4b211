/** Options of QEMU that a user may add: those that bring something more, none by which vmkit steers, stores or connects. */
const WITH_VALUE = new Set(
  '-acpitable -audiodev -bios -blockdev -boot -chardev -device -fw_cfg -global -icount -k -msg -netdev -numa -object -overcommit -rtc -smbios -trace -vga -watchdog-action'.split(
    ' ',
  ),
)
const ALONE = new Set(['-enable-fips', '-no-hpet', '-usb'])

/** Every option known, each with its value, which starts with no `-`. */
export function isAllowedExtra(args: readonly string[]): boolean {
  for (let index = 0; index < args.length; index += 1) {
    const option = args[index] as string
    if (ALONE.has(option)) continue
    const value = args[index + 1]
    if (!WITH_VALUE.has(option) || value === undefined || value.startsWith('-')) return false
    index += 1
  }
  return true
}
