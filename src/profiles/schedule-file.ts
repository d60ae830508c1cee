import { KiB } from '../base/bytes.ts'
import type { Untrusted } from '../base/untrusted.ts'
import { ProfileError } from './errors.ts'
import { parseSchedule } from './extensions.ts'
import type { Schedule } from './schedule.ts'
import { parseYaml } from './yaml.ts'

/*
 * `schedules/<profile>.conf`: the schedule of a profile, sealed by the admin, who has no say in what is backed up. The same keys
 * as under `strongroom: schedule:` of a profile, which must not have one too.
 */

const scheduleBytesMax = 4 * KiB

/** Throws `ProfileError` with line and column, whatever the bytes are. */
export function parseScheduleFile(untrustedText: Untrusted<Uint8Array>): Schedule {
  return untrustedText.parse(bytes => {
    if (bytes.byteLength > scheduleBytesMax)
      throw new ProfileError(
        'PROFILE_TOO_LARGE',
        `a schedule of ${bytes.byteLength} bytes; at most ${scheduleBytesMax} are read`,
      )
    const node = parseYaml(bytes)
    if (node !== null) return parseSchedule(node)
    throw new ProfileError('PROFILE_NOT_MAPPING', 'the schedule is empty; expected calendar and its value')
  })
}
