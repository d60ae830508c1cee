import type { ToolName } from '../examined-levels.ts'
import type { FindingCode } from '../findings.ts'
import type { CheckedKind, Content } from './contents.ts'
import { copyOf } from './copy.ts'
import { Fault } from './fault.ts'
import type { Region } from './region.ts'
import { isPlausible, sizesOf } from './superblocks.ts'
import { runTool, type ToolEnd, type ToolLimits } from './tools.ts'

/** What is seen of a program that did not come to an end of its own. */
export const faultsOfTools = {
  missing: 'TOOL_MISSING',
  killed: 'TOOL_KILLED',
  flooded: 'TOOL_FLOODED',
  late: 'OUT_OF_TIME',
} as const satisfies Record<Exclude<ToolEnd['kind'], 'ended'>, FindingCode>

export interface CheckPorts extends ToolLimits {
  /** For the report. */
  readonly used: (tool: ToolName) => void
  /** What a checker says of a file system that it does not like, for a person to look at. */
  readonly complain: (text: string) => void
}

interface Checker {
  readonly tool: ToolName
  readonly program: string
  readonly arguments: (image: string) => readonly string[]
  /** Takes `<file>?offset=<bytes>`. */
  readonly takesOffset: boolean
  /** Refuses to run where it may not write. */
  readonly wantsToWrite?: true
}

const checkers: Readonly<Record<CheckedKind, Checker>> = {
  ext: {
    tool: 'e2fsck',
    program: '/usr/sbin/e2fsck',
    arguments: image => ['-f', '-n', image],
    takesOffset: true,
  },
  xfs: {
    tool: 'xfs_repair',
    program: '/usr/sbin/xfs_repair',
    // Without prefetching, whose threads take memory by what the superblock says.
    arguments: image => ['-n', '-P', '-f', image],
    takesOffset: false,
    wantsToWrite: true,
  },
  btrfs: {
    tool: 'btrfs',
    program: '/usr/bin/btrfs',
    arguments: image => ['check', '--readonly', image],
    takesOffset: false,
  },
  fat: {
    tool: 'fsck.fat',
    program: '/usr/sbin/fsck.fat',
    arguments: image => ['-n', image],
    takesOffset: false,
  },
}

const memoryComplaint = /memory allocation failed|cannot allocate memory|out of memory/i
/** Bits in a status of e2fsck. */
const errorsLeft = 4
const cannotGoOn = 8
/** xfs_repair says so with `-n`. */
const pendingLog = 'in a log which is being ignored'

/** The region as tools that take an offset want it. */
export function imageOf({ file, offset }: Region): string {
  return offset === 0 ? file : `${file}?offset=${offset}`
}

/** Proves one file system sound without writing to it. Throws `Fault`. */
export async function checkFileSystem(
  kind: CheckedKind,
  { region }: Pick<Content, 'region'>,
  ports: CheckPorts,
): Promise<void> {
  const checker = checkers[kind]
  const sizes = await sizesOf(kind, region)
  if (kind !== 'fat' && (sizes === null || !isPlausible(sizes, region))) throw new Fault('SIZE_IMPLAUSIBLE')
  ports.used(checker.tool)
  const { status, isPending } = await withImage(checker, region, ports, image => check(checker, image, ports))
  // Errors that a replay may mend; but one that could not even go on, as by a journal that is none, it would mend by making a new one.
  if (sizes?.isPending && (status & cannotGoOn) === 0) return checkAfterReplay(checker, region, ports)
  if (status !== 0) throw new Fault(isPending ? 'JOURNAL_PENDING' : 'FILE_SYSTEM_BROKEN', { number: status })
}

interface Checked {
  readonly status: number
  readonly isPending: boolean
}

async function check(checker: Checker, image: string, ports: CheckPorts): Promise<Checked> {
  const { program, wantsToWrite = false } = checker
  const end = await runTool({ program, arguments: checker.arguments(image), writes: wantsToWrite }, ports)
  if (end.kind !== 'ended') throw new Fault(faultsOfTools[end.kind])
  const said = end.output + end.complaint
  if (end.status !== 0) ports.complain(said)
  if (end.status !== 0 && memoryComplaint.test(said)) throw new Fault('TOOL_KILLED')
  return { status: end.status, isPending: said.includes(pendingLog) }
}

async function withImage<T>(
  { takesOffset }: Checker,
  region: Region,
  { stop }: CheckPorts,
  use: (image: string) => Promise<T>,
): Promise<T> {
  if (takesOffset || region.isWhole) return await use(imageOf(region))
  await using copy = await copyOf(region, stop)
  if (copy === null) throw new Fault('TOO_LARGE')
  return await use(copy.file)
}

/** A file system that was mounted when the snapshot was made is sound if it is so after a replay, as a kernel does it at mount. */
async function checkAfterReplay(checker: Checker, region: Region, ports: CheckPorts): Promise<void> {
  await using copy = await copyOf(region, ports.stop)
  if (copy === null) throw new Fault('JOURNAL_PENDING')
  const replay = await runTool(
    { program: checker.program, arguments: ['-p', '-E', 'journal_only', copy.file], writes: true },
    ports,
  )
  if (replay.kind !== 'ended') throw new Fault(faultsOfTools[replay.kind])
  if (replay.status >= errorsLeft) {
    ports.complain(replay.output + replay.complaint)
    throw new Fault('FILE_SYSTEM_BROKEN', { number: replay.status })
  }
  const { status } = await check(checker, copy.file, ports)
  if (status !== 0) throw new Fault('FILE_SYSTEM_BROKEN', { number: status })
}
