/*
 * Disks of a VM that is one boot sector: the smallest thing that a BIOS starts. 16-bit code, loaded at 0x7c00; each of these
 * ends in a loop or a reset.
 */

const sectorBytes = 512
const loadedAt = 0x7c00
const codeEnd = 440

function sectorOf(code: readonly number[], text = ''): Uint8Array {
  const sector = new Uint8Array(sectorBytes)
  const words = [...new TextEncoder().encode(text), 0]
  if (code.length + words.length > codeEnd) throw new RangeError('too long for a boot sector')
  sector.set([...code, ...words])
  // An active partition, and the signature.
  sector.set([0x80], 446)
  sector.set([0x55, 0xaa], 510)
  return sector
}

/** The offset from the end of an instruction at `at` to `target`, in one byte. */
const back = (target: number, at: number) => (target - at) & 0xff

/** Says `text` on the serial port, once or for ever, and halts. */
export function saying(text: string, again: 'once' | 'for ever'): Uint8Array {
  const print = [
    ...[0xfa, 0x31, 0xc0, 0x8e, 0xd8], //  0: cli; xor ax,ax; mov ds,ax
    ...[0xbe, 0, 0], //                    5: mov si,text
    ...[0xac, 0x84, 0xc0], //              8: lodsb; test al,al
    ...[0x74, 0x06], //                   11: jz 19
    ...[0xba, 0xf8, 0x03, 0xee], //       13: mov dx,0x3f8; out dx,al
    ...[0xeb, back(8, 19)], //            17: jmp 8
  ]
  const end = again === 'once' ? [0xf4, 0xeb, back(19, 22)] : [0xeb, back(5, 21)]
  const code = [...print, ...end]
  const address = loadedAt + code.length
  code[6] = address & 0xff
  code[7] = address >> 8
  return sectorOf(code, text)
}

/** Starts the machine anew. */
export const resetting = sectorOf([0xea, 0xf0, 0xff, 0x00, 0xf0]) // jmp 0xf000:0xfff0

/** Overwrites its disk from the second sector on, 64 sectors at a time, and says nothing. */
export const overwriting = sectorOf([
  ...[0xfa, 0x31, 0xc0, 0x8e, 0xd8], //    0: cli; xor ax,ax; mov ds,ax
  ...[0xbe, 0x00, 0x7e], //                5: mov si,0x7e00, the packet of int 0x13
  ...[0xc7, 0x04, 0x10, 0x00], //          8: its length
  ...[0xc7, 0x44, 0x02, 0x40, 0x00], //   12: 64 sectors
  ...[0xc7, 0x44, 0x04, 0x00, 0x80], //   17: from 0x8000
  ...[0xc7, 0x44, 0x06, 0x00, 0x00], //   22: in segment 0
  ...[0xc7, 0x44, 0x08, 0x01, 0x00], //   27: to the sector with this number
  ...[0xc7, 0x44, 0x0a, 0x00, 0x00], //   32: its upper halves
  ...[0xc7, 0x44, 0x0c, 0x00, 0x00], //   37
  ...[0xc7, 0x44, 0x0e, 0x00, 0x00], //   42
  ...[0xb8, 0x00, 0x43, 0xb2, 0x80], //   47: extended write to the first disk
  ...[0xcd, 0x13], //                     52
  ...[0x83, 0x44, 0x08, 0x40], //         54: add 64 to the number
  ...[0xeb, back(47, 60)], //             58: jmp 47
])
