import type { LevelResult } from '../base/drill-levels.ts'
import { fields, is } from '../base/json.ts'
import type { ExaminedLevel } from './examined-levels.ts'

/*
 * All that a sandbox can say of volumes. It names a row and gives three small numbers; dom0 has the words, so that nothing a
 * volume holds, nor a sentence made up by whoever took the sandbox over, gets into a report.
 */

interface FindingRow {
  readonly levels: readonly ExaminedLevel[]
  readonly result: LevelResult
  /** `#` stands for the number. */
  readonly text: string
}

const every: readonly ExaminedLevel[] = ['filesystem', 'files', 'program']
const looking: readonly ExaminedLevel[] = ['filesystem', 'files']

export const findings = {
  RULE_MISSING: { levels: every, result: 'failed', text: 'the profile says nothing that this could prove' },
  WORK_FAILED: { levels: every, result: 'suspicious', text: 'examining it failed in an unexpected way' },
  OUT_OF_TIME: { levels: every, result: 'suspicious', text: 'there was not enough time' },
  TOOL_MISSING: {
    levels: looking,
    result: 'failed',
    text: 'the program that can examine it is not installed',
  },
  TOOL_KILLED: {
    levels: looking,
    result: 'suspicious',
    text: 'the program that examined it crashed, or ran out of memory',
  },
  TOOL_FLOODED: {
    levels: looking,
    result: 'suspicious',
    text: 'the program that examined it did not stop talking',
  },
  VOLUME_ABSENT: {
    levels: looking,
    result: 'failed',
    text: 'the volume is not there, or has another length',
  },
  TABLE_BROKEN: { levels: looking, result: 'failed', text: 'the partition table is broken' },
  CONTENT_AMBIGUOUS: { levels: looking, result: 'failed', text: 'can be taken for two different things' },

  FILE_SYSTEMS_SOUND: {
    levels: ['filesystem'],
    result: 'passed',
    text: 'sound file systems: #; all else is empty, swap space or a boot loader',
  },
  CONTENT_UNKNOWN: {
    levels: ['filesystem'],
    result: 'failed',
    text: 'holds nothing that is known, and is not empty',
  },
  CONTENT_CLOSED: {
    levels: ['filesystem'],
    result: 'failed',
    text: 'is encrypted, part of a volume group, or of a kind for which there is no checker',
  },
  TOO_LARGE: {
    levels: ['filesystem'],
    result: 'failed',
    text: 'the checker for this kind needs a copy of the partition, for which it is too large',
  },
  SIZE_IMPLAUSIBLE: {
    levels: ['filesystem'],
    result: 'failed',
    text: 'the file system claims more room than there is, or more or less in use than can be',
  },
  FILE_SYSTEM_BROKEN: {
    levels: ['filesystem'],
    result: 'failed',
    text: 'the file system has errors (status # of its checker)',
  },
  JOURNAL_PENDING: {
    levels: ['filesystem'],
    result: 'failed',
    text: 'the file system was in use, and its journal, without which it is not whole, cannot be replayed here',
  },

  FILES_HOLD: { levels: ['files'], result: 'passed', text: 'files that are as the profile says: #' },
  FILE_ABSENT: { levels: ['files'], result: 'failed', text: 'rule #: no plain file has that name' },
  FILE_VOLUME_ABSENT: {
    levels: ['files'],
    result: 'failed',
    text: 'rule #: the snapshot has no such volume',
  },
  FILE_UNPROVABLE: {
    levels: ['files'],
    result: 'failed',
    text: 'rule #: single files can be looked at in ext2, ext3 and ext4 only, which the volume does not hold',
  },
  FILE_PATH_INVALID: { levels: ['files'], result: 'failed', text: 'rule #: the path is not an absolute one' },
  FILE_DIGEST: { levels: ['files'], result: 'failed', text: 'rule #: the content has another digest' },
  FILE_AGE: {
    levels: ['files'],
    result: 'failed',
    text: 'rule #: the file was not modified within those days',
  },
  FILE_WITHOUT: { levels: ['files'], result: 'failed', text: 'rule #: the content is without that text' },
  FILE_UNREADABLE: {
    levels: ['files'],
    result: 'failed',
    text: 'rule #: the file cannot be read to its end',
  },
  FILE_IMPLAUSIBLE: {
    levels: ['files'],
    result: 'suspicious',
    text: 'rule #: the file claims to be larger than its volume',
  },

  PROGRAM_PASSED: { levels: ['program'], result: 'passed', text: 'the program ended with 0' },
  PROGRAM_FAILED: { levels: ['program'], result: 'failed', text: 'the program ended with #' },
  PROGRAM_KILLED: {
    levels: ['program'],
    result: 'suspicious',
    text: 'the program crashed, or ran out of memory',
  },
  PROGRAM_FLOODED: { levels: ['program'], result: 'suspicious', text: 'the program did not stop talking' },
} as const satisfies Record<string, FindingRow>

export type FindingCode = keyof typeof findings
const codes = Object.keys(findings) as FindingCode[]

const numberMax = 65_535

/** Counted from 1; `number` is what the row's text says. */
export const findingFields = {
  finding: is.literal(...codes),
  volume: is.nullable(is.integer(1, numberMax)),
  partition: is.nullable(is.integer(1, numberMax)),
  number: is.nullable(is.integer(0, numberMax)),
} as const
const parseFinding = fields('finding', findingFields)
export type Finding = ReturnType<typeof parseFinding>

export function rowOf({ finding }: Pick<Finding, 'finding'>): FindingRow {
  return findings[finding]
}

/** One line for a report. Volumes have numbers, in the order of the snapshot: names are for those who may list them. */
export function messageOf(finding: Finding): string {
  const text = rowOf(finding).text.replace('#', String(finding.number ?? '?'))
  const place = [
    ...(finding.volume === null ? [] : [`volume ${finding.volume}`]),
    ...(finding.partition === null ? [] : [`partition ${finding.partition}`]),
  ]
  return place.length === 0 ? text : `${place.join(', ')}: ${text}`
}
