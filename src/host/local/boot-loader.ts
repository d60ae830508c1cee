/*
 * Whether a disk starts by itself on a PC's BIOS: by its first sector, as far as that can be told without running it. Every
 * partitioned disk has the signature, also one that was only ever started with a kernel from outside.
 */

export const bootSectorBytes = 512

const signatureAt = 510
const codeEnd = 440
const partitionTableAt = 446
const partitionEntryBytes = 16
const partitions = 4
const active = 0x80

/** It has code, and either that is GRUB's or an active partition for it to start. `sector`: the first 512 bytes of the disk. */
export function startsByItself(sector: Uint8Array): boolean {
  if (sector.length < bootSectorBytes) return false
  if (sector[signatureAt] !== 0x55 || sector[signatureAt + 1] !== 0xaa) return false
  if (sector.subarray(0, codeEnd).every(byte => byte === 0)) return false
  const isGrub = Buffer.from(sector.subarray(0, codeEnd)).includes('GRUB')
  return isGrub || hasActivePartition(sector)
}

function hasActivePartition(sector: Uint8Array): boolean {
  for (let index = 0; index < partitions; index += 1)
    if (sector[partitionTableAt + index * partitionEntryBytes] === active) return true
  return false
}
