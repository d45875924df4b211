/**
 * The smallest guest there is: a firmware of its own, whose first instruction is the processor's first. It writes a text to the
 * first serial port (COM1, I/O port 0x3F8) and halts. In a tenth of a second it tells whether an accelerator runs guests at all.
 */
const ROM_SIZE = 64 * 1024
/** Where an x86 starts: 16 bytes below the end of the firmware, in its last 64 KiB. */
const RESET_VECTOR = ROM_SIZE - 16

const CODE = [
  0xfa, //             cli
  0xba,
  0xf8,
  0x03, // mov dx, 0x3f8
  0xbe,
  0x13,
  0x00, // mov si, text
  0x2e,
  0xac, // next: cs lodsb
  0x84,
  0xc0, //       test al, al
  0x74,
  0x03, //       jz end
  0xee, //             out dx, al
  0xeb,
  0xf7, //       jmp next
  0xf4, //        end: hlt
  0xeb,
  0xfd, //       jmp end
]
/** To offset 0, from behind these three bytes; offsets wrap at 64 KiB. */
const JUMP_TO_START = [0xe9, 0x0d, 0x00]

/** For `-bios`. The text is ASCII. */
export function tinyGuest(text: string): Uint8Array {
  const rom = new Uint8Array(ROM_SIZE)
  rom.set(CODE)
  rom.set(Buffer.from(`${text}\0`, 'latin1'), CODE.length)
  rom.set(JUMP_TO_START, RESET_VECTOR)
  return rom
}
