import type { ToolName } from '../examined-levels.ts'
import type { ExaminationVerdict } from '../protocol.ts'
import { runTool, type ToolLimits } from './tools.ts'

const askedBy: Readonly<Record<ToolName, readonly [program: string, ...words: string[]]>> = {
  e2fsck: ['/usr/sbin/e2fsck', '-V'],
  debugfs: ['/usr/sbin/debugfs', '-V'],
  xfs_repair: ['/usr/sbin/xfs_repair', '-V'],
  btrfs: ['/usr/bin/btrfs', '--version'],
  // It has no option for that, and says it before it looks.
  'fsck.fat': ['/usr/sbin/fsck.fat', '-n', '/dev/null'],
}

/** Of those that say one. */
export async function versionsOf(
  tools: Iterable<ToolName>,
  limits: ToolLimits,
): Promise<ExaminationVerdict['tools']> {
  const found: ExaminationVerdict['tools'][number][] = []
  for (const name of tools) {
    const [program, ...words] = askedBy[name]
    const end = await runTool({ program, arguments: words }, limits)
    if (end.kind !== 'ended') continue
    const version = /\d{1,3}(?:\.\d{1,3}){1,3}/.exec(end.output + end.complaint)?.[0]
    if (version !== undefined) found.push({ name, version })
  }
  return found
}
