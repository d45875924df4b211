/**
 * The smallest guest there is: 512 bytes that a BIOS loads to 0x7C00. It writes a text to the first serial port (COM1, I/O port
 * 0x3F8) and halts. It tells whether an accelerator runs guests at all, in a few hundred milliseconds.
 */
const TEXT = 'vmkit boot sector\n'
const SIGNATURE = [0x55, 0xaa]
const SIZE = 512
const LOAD_ADDRESS = 0x7c00

// prettier-ignore
const CODE = [
  0xfa, //             cli
  0x31, 0xc0, //       xor ax, ax
  0x8e, 0xd8, //       mov ds, ax
  0xba, 0xf8, 0x03, // mov dx, 0x3f8
  0xbe, 0x16, 0x7c, // mov si, text
  0xac, //       next: lodsb
  0x84, 0xc0, //       test al, al
  0x74, 0x03, //       jz end
  0xee, //             out dx, al
  0xeb, 0xf8, //       jmp next
  0xf4, //        end: hlt
  0xeb, 0xfd, //       jmp end
]

export function bootSector(text = TEXT): Uint8Array {
  const sector = new Uint8Array(SIZE)
  sector.set(CODE)
  if (CODE[9] !== (LOAD_ADDRESS + CODE.length & 0xff)) throw new Error('the text is not where the code looks for it')
  sector.set(Buffer.from(`${text}\0`, 'latin1'), CODE.length)
  sector.set(SIGNATURE, SIZE - SIGNATURE.length)
  return sector
}

export { TEXT as BOOT_SECTOR_TEXT }
