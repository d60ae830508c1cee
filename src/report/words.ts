import { type DrillLevel, drillLevels, type LevelResult, type LevelVerdict } from '../base/drill-levels.ts'
import { bytesText, durationText } from '../base/quantities.ts'
import { type DrillReport, nextDue } from './report.ts'

/*
 * What a level proves, in words for people who know nothing of the product. A report holds these and not what a sandbox said: a
 * sandbox has held a passphrase and read contents, and reports are read by everyone who reads the ledger.
 */

type Restore = NonNullable<DrillReport['restore']>

interface LevelWords {
  readonly name: string
  readonly passed: string
  readonly failed: string
  readonly suspicious: string
  /** What nobody knows as long as it was not proven. */
  readonly open: string
  /** Whether it is dom0 that compared, or a disposable VM that said so. */
  readonly by: 'dom0' | 'disposable'
}

export const levelWords: Readonly<Record<DrillLevel, LevelWords>> = {
  objects: {
    name: 'Objects',
    passed: 'Every object that the ledger lists was in storage, with its length and in its place.',
    failed: 'An object that the ledger lists was missing from storage, or was another.',
    suspicious: 'The look at the stored objects came to no answer within its limits.',
    open: 'whether every object that the ledger lists is in storage',
    by: 'disposable',
  },
  data: {
    name: 'Data',
    passed: 'The snapshot was restored in full, and every volume had the digest that the ledger binds.',
    failed: 'The snapshot could not be restored in full, or a volume had another digest.',
    suspicious: 'The restore came to no end within its limits.',
    open: 'whether the snapshot can be restored in full',
    by: 'dom0',
  },
  filesystem: {
    name: 'File systems',
    passed: 'Partition tables and file systems were checked by their own tools, and found sound.',
    failed: 'A partition table or file system was found damaged by its own tools.',
    suspicious: 'The tools for partition tables and file systems gave no answer within their limits.',
    open: 'whether the file systems in the volumes are sound',
    by: 'disposable',
  },
  files: {
    name: 'Files',
    passed: 'The files that the sealed profile names were there, and were as it says.',
    failed: 'A file that the sealed profile names was missing, or was not as it says.',
    suspicious: 'The look at the files that the sealed profile names gave no answer within its limits.',
    open: 'whether particular files are there and right',
    by: 'disposable',
  },
  boot: {
    name: 'Start',
    passed: 'A virtual machine started from the restored volumes, and gave the agreed sign.',
    failed: 'A virtual machine was started from the restored volumes, and did not give the agreed sign.',
    suspicious: 'The virtual machine that was started did not behave as one that starts.',
    open: 'whether a virtual machine starts from the volumes',
    by: 'disposable',
  },
  program: {
    name: 'Own test',
    passed: 'The profile’s own test program ran on the restored volumes, and was content.',
    failed: 'The profile’s own test program ran on the restored volumes, and was not content.',
    suspicious: 'The profile’s own test program came to no end within its limits.',
    open: 'whether an own test program is content with the volumes',
    by: 'disposable',
  },
}

/** The level as a report tells it, with this product's words in the place of those that were said. */
export function reported({ level, result, milliseconds }: LevelVerdict): LevelVerdict {
  return { level, result, message: levelWords[level][result], milliseconds }
}

export const resultWords: Readonly<Record<LevelResult, string>> = {
  passed: 'The drill passed.',
  failed: 'The drill failed.',
  suspicious: 'The drill came to no sound end.',
}

/** `2026-11-24 03:15:00 UTC`: reports are filed, and read in other places. */
export function utcText(time: Date): string {
  return `${time.toISOString().slice(0, 19).replace('T', ' ')} UTC`
}

/** `1.5 GiB in 3:07 from the order to the last volume, at 12.0 MiB/s`. */
export function restoreText({ milliseconds, bytes, bytesPerSecond }: Restore): string {
  return `${bytesText(bytes)} in ${durationText(milliseconds)} from the order to the last volume, at ${bytesText(bytesPerSecond)}/s`
}

/** By when the next drill has to have passed. */
export function dueText(report: DrillReport): string {
  const due = nextDue(report)
  if (due === null) return 'at no fixed time: the sealed profile says none'
  return report.verdict === 'passed' ? `by ${utcText(due)}` : 'now: this one did not pass'
}

/** What a reader might take the report for, and should not; each a sentence of its own. */
export function notProven({ levels }: DrillReport): readonly string[] {
  const passed = levels.filter(({ result }) => result === 'passed').map(({ level }) => level)
  const open = drillLevels.filter(level => !passed.includes(level)).map(level => levelWords[level].open)
  const said = passed
    .filter(level => levelWords[level].by === 'disposable')
    .map(level => levelWords[level].name)
  return [
    ...(open.length === 0 ? [] : [`Not proven: ${open.join('; ')}.`]),
    'Nothing is said of other snapshots, nor of what storage may have lost since.',
    ...(said.length === 0
      ? []
      : [
          `${said.join(', ')}: found by a disposable VM without network, which the contents it looked at could have attacked. The digests of Data are compared outside of it.`,
        ]),
    'The signature is that of dom0. Whoever ruled dom0 at that time could have signed something else.',
  ]
}
