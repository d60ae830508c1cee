import { drillLevels } from './drill-levels.ts'
import { fields, is } from './json.ts'
import { parseDigest, parseVmName, parseVolumeName } from './names.ts'

/*
 * What the sealed profile says of drills, and in part what a sandbox is told. Paths are absolute ones inside a volume's file system;
 * they stay between the sealed store, dom0 and the sandbox.
 */

export const assertionsMax = 32
export const filePathLengthMax = 1024
export const textLengthMax = 200
export const markerLengthMax = 100
export const scriptLengthMax = 8192
export const bootSecondsMax = 3600

export const parseFileAssertion = fields('file', {
  vm: is.name(parseVmName),
  volume: is.name(parseVolumeName),
  path: is.string(filePathLengthMax),
  /** Of its content. */
  sha256: is.nullable(is.name(parseDigest)),
  /** Modified at most so long before the snapshot was made. */
  ageDaysMax: is.nullable(is.integer(1)),
  /** Its first MiB, as UTF-8, contains this. */
  contains: is.nullable(is.string(textLengthMax)),
})
/** A plain file that must exist, and what must be true of it. */
export type FileAssertion = ReturnType<typeof parseFileAssertion>

export const parseBootRule = fields('boot', {
  /** Its volumes are the disks, in the order of the snapshot. */
  vm: is.name(parseVmName),
  /** A line of the console, or a message on the channel `strongroom.drill`, that contains this. */
  marker: is.string(markerLengthMax),
  secondsMax: is.integer(1, bootSecondsMax),
})
export type BootRule = ReturnType<typeof parseBootRule>

export const parseDrillRules = fields('drill', {
  /** Without doubles, in the order of `drillLevels`, at least one. */
  levels: is.array(is.literal(...drillLevels), drillLevels.length),
  /** A newest passed drill older than this is an alarm, and a new one due. */
  withinDays: is.nullable(is.integer(1)),
  files: is.array(parseFileAssertion, assertionsMax),
  boot: is.nullable(parseBootRule),
  /** For `/bin/sh` in the sandbox; the volumes are `$VOLUMES/<vm>/<volume>.img`, read-only. */
  program: is.nullable(is.string(scriptLengthMax)),
})
export type DrillRules = ReturnType<typeof parseDrillRules>
