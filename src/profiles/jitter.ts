import { createHash } from 'node:crypto'
import type { Milliseconds } from '../base/brand.ts'

const minute: Milliseconds = 60_000
/** Of a schedule that an admin sets. */
export const jitterMinutesMax = 12 * 60

/** The delay of one profile's runs: the same each time, so that runs keep their distance. `seed`: e.g. the profile. */
export function jitter(seed: string, jitterMinutes: number): Milliseconds {
  if (jitterMinutes === 0) return 0
  const digest = createHash('sha256').update(`jitter ${seed}`).digest()
  return digest.readUInt32BE(0) % (jitterMinutes * minute)
}
