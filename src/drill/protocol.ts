import { KiB } from '../base/bytes.ts'
import { fields, is } from '../base/json.ts'
import { parseJobId, parseVmName, parseVolumeName } from '../base/names.ts'
import { drillLevels, parseLevelVerdict } from './levels.ts'
import { parseDrillRules } from './rules.ts'

/*
 * The channel between dom0 and the sandbox that examines restored volumes: its standard input and output. dom0 writes one line of
 * JSON, the task; the sandbox answers one, the verdict, and ends. dom0 reads at most `verdictBytesMax`, and nothing else that
 * comes from there is ever parsed.
 */

export const examinationTaskBytesMax = 128 * KiB
export const verdictBytesMax = 16 * KiB
const volumesMax = 256

/** Levels that are proven by looking at restored volumes. */
export const examinedLevels = [
  'filesystem',
  'files',
  'program',
] as const satisfies readonly (typeof drillLevels)[number][]

export const parseExaminationTask = fields('examination', {
  job: is.name(parseJobId),
  /** In the order in which they are proven. */
  levels: is.array(is.literal(...examinedLevels), examinedLevels.length),
  rules: parseDrillRules,
  /** When the snapshot was made. */
  snapshotTime: is.time,
  /** Read-only, at `/volumes/<vm>/<volume>.img` inside. */
  volumes: is.array(
    fields('volume', { vm: is.name(parseVmName), volume: is.name(parseVolumeName), bytes: is.integer() }),
    volumesMax,
  ),
})
export type ExaminationTask = ReturnType<typeof parseExaminationTask>

export const parseExaminationVerdict = fields('examination verdict', {
  /** One for each level of the task, in its order, up to and with the first that did not pass. */
  levels: is.array(parseLevelVerdict, drillLevels.length),
  /** What was used, e.g. `e2fsck 1.47.0`. */
  tools: is.array(is.string(60), 16),
})
export type ExaminationVerdict = ReturnType<typeof parseExaminationVerdict>
