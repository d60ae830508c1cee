import { BaseError } from '../base/base-errors.ts'
import { KiB } from '../base/bytes.ts'
import { parseDrillRules } from '../base/drill-rules.ts'
import { fields, is } from '../base/json.ts'
import { parseJobId, parseVmName, parseVolumeName } from '../base/names.ts'
import { examinedLevels, toolNames } from './examined-levels.ts'
import { findingFields } from './findings.ts'

/*
 * The channel between dom0 and the sandbox that examines restored volumes: its standard input and output. dom0 writes one line of
 * JSON, the task; the sandbox answers one, the verdict, and ends. dom0 reads at most `verdictBytesMax`, and nothing else that
 * comes from there is ever parsed.
 */

export const examinationTaskBytesMax = 128 * KiB
export const verdictBytesMax = 16 * KiB
const volumesMax = 256

export const parseExaminationTask = fields('examination', {
  job: is.name(parseJobId),
  /** In the order in which they are proven. */
  levels: is.array(is.literal(...examinedLevels), examinedLevels.length),
  rules: parseDrillRules,
  /** When the snapshot was made. */
  snapshotTime: is.time,
  /** What the sandbox may take; it stops before, so that it can still say so. */
  memoryBytesMax: is.integer(1),
  millisecondsMax: is.integer(1),
  /** Read-only, at `/volumes/<vm>/<volume>.img` inside. */
  volumes: is.array(
    fields('volume', { vm: is.name(parseVmName), volume: is.name(parseVolumeName), bytes: is.integer() }),
    volumesMax,
  ),
})
export type ExaminationTask = ReturnType<typeof parseExaminationTask>

const versionPattern = /^\d{1,3}(\.\d{1,3}){0,3}$/

export const parseExaminationVerdict = fields('examination verdict', {
  /** One for each level of the task, in its order, up to and with the first that did not pass. */
  levels: is.array(
    fields('level', {
      level: is.literal(...examinedLevels),
      ...findingFields,
      milliseconds: is.integer(),
    }),
    examinedLevels.length,
  ),
  /** What was used. */
  tools: is.array(
    fields('tool', {
      name: is.literal(...toolNames),
      version: is.name(text => {
        if (!versionPattern.test(text)) throw new BaseError('FIELD_INVALID', 'expected a version like 1.47.0')
        return text
      }),
    }),
    toolNames.length,
  ),
})
export type ExaminationVerdict = ReturnType<typeof parseExaminationVerdict>
export type ExaminedLevelVerdict = ExaminationVerdict['levels'][number]
