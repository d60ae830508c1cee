import type { drillLevels } from '../base/drill-levels.ts'

/** Levels that are proven by looking at restored volumes. */
export const examinedLevels = [
  'filesystem',
  'files',
  'program',
] as const satisfies readonly (typeof drillLevels)[number][]
export type ExaminedLevel = (typeof examinedLevels)[number]

/** Programs that look at volumes, and have a version to report. */
export const toolNames = ['e2fsck', 'debugfs', 'xfs_repair', 'btrfs', 'fsck.fat'] as const
export type ToolName = (typeof toolNames)[number]
