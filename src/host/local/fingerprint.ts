import type { BigIntStats } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Milliseconds } from '../../base/brand.ts'
import { fromUtf8 } from '../../base/bytes.ts'
import { knownFileSystems } from './file-systems.ts'

/*
 * What can be known of a plain file without any help: that nobody wrote to it. Every write, truncation, punched hole
 * and store through a mapping sets the file's ctime, which no ordinary call sets back. So the same file with the same
 * ctime has the same bytes, on a file system that keeps ctime like that, unless one of these holds:
 *
 * - A write that began before the mark was taken and put its bytes down after: the time is set when a write begins, and
 *   one call may write 2 GiB to a slow disk. And a clock that ticks coarsely gives two writes the same time. So a file
 *   whose time is not at rest has no mark.
 * - A store through a mapping into a page that was dirty already, which sets no time. So the file is synced before the
 *   times are read: then each page is clean, and the next store into it sets the time.
 * - A crash that lost the new time and kept the new bytes, which were overwritten in place: times go through the
 *   journal seconds later. So a mark holds only until the machine starts anew.
 *
 * What remains is in docs/explanation/unchanged.md.
 */

/** Longer than any one write takes. */
const restMilliseconds: Milliseconds = 10 * 60_000
const second = 1_000_000_000n

/** Which file it is, and its times and size: as long as this stays, nobody has written to it. */
export function identityOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(' ')
}

export interface Circumstances {
  /** `f_type` of the file system. */
  readonly fileSystem: bigint
  /** When the times were read. */
  readonly now: Date
  /** Of the running kernel; `null` if it does not tell. */
  readonly boot: string | null
}

/** A mark of the bytes of a file that was synced before its times were read; `null` if the times do not prove enough. */
export function fingerprintOf(stat: BigIntStats, { fileSystem, now, boot }: Circumstances): string | null {
  if (boot === null || !knownFileSystems.has(fileSystem)) return null
  // Full seconds are a file system without room for more: ext4 with inodes of 128 bytes.
  if (stat.ctimeNs % second === 0n) return null
  const rest = BigInt(now.getTime()) - stat.ctimeNs / 1_000_000n
  return rest < restMilliseconds ? null : `${boot} ${identityOf(stat)}`
}

/** The id that the kernel made up when it started. */
export async function readBootId(): Promise<string | null> {
  try {
    const text = fromUtf8(await readFile('/proc/sys/kernel/random/boot_id')).trim()
    return /^[0-9a-f-]{36}$/.test(text) ? text : null
  } catch {
    return null
  }
}
