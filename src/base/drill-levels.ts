import { fields, is } from './json.ts'

/*
 * What a restore drill proves. Levels are in the order in which each builds on those before; a profile chooses which.
 */

export const drillLevels = [
  /** Every object that the ledger lists is in storage, with its length and its place in a sound structure. */
  'objects',
  /** The snapshot was restored in full: every blob has its hash, every volume the digest that the ledger binds. */
  'data',
  /** Partition tables and file systems of the restored volumes were checked by their own tools, without writing. */
  'filesystem',
  /** What the profile says of single files holds. */
  'files',
  /** A virtual machine started from the restored volumes, and said the word. */
  'boot',
  /** The profile's own script ended with 0. */
  'program',
] as const
export type DrillLevel = (typeof drillLevels)[number]

/** `suspicious`: not answered as contents that nobody meant to hurt would be: out of time or memory, over a limit, no verdict. */
export const levelResults = ['passed', 'failed', 'suspicious'] as const
export type LevelResult = (typeof levelResults)[number]

export const levelMessageLengthMax = 300

export const parseLevelVerdict = fields('level', {
  level: is.literal(...drillLevels),
  result: is.literal(...levelResults),
  /** One line, made by this product, of what was found; no name of a file, nothing that a volume holds. */
  message: is.string(levelMessageLengthMax),
  milliseconds: is.integer(),
})
/** One level of one drill. */
export type LevelVerdict = ReturnType<typeof parseLevelVerdict>
