import { createHash } from 'node:crypto'
import { MiB } from '../../base/bytes.ts'
import type { FileAssertion } from '../../base/drill-rules.ts'
import type { Finding } from '../findings.ts'
import type { ExaminationTask } from '../protocol.ts'
import { type CheckPorts, faultsOfTools, imageOf } from './checkers.ts'
import { contentsOf } from './contents.ts'
import { Fault } from './fault.ts'
import { placed, withVolume } from './file-systems.ts'
import type { Region } from './region.ts'
import { runTool } from './tools.ts'

const program = '/usr/sbin/debugfs'
const searchedBytes = MiB
const dayMilliseconds = 86_400_000

/** Each rule in turn. Throws `Fault`. */
export async function proveFiles(
  directory: string,
  task: ExaminationTask,
  ports: CheckPorts,
): Promise<Finding> {
  const { files } = task.rules
  if (files.length === 0) throw new Fault('RULE_MISSING')
  for (const [index, rule] of files.entries())
    await placed({ number: index + 1 }, () => proveFile(directory, rule, task, ports))
  return { finding: 'FILES_HOLD', volume: null, partition: null, number: files.length }
}

async function proveFile(
  directory: string,
  rule: FileAssertion,
  { volumes, snapshotTime }: ExaminationTask,
  ports: CheckPorts,
): Promise<void> {
  const index = volumes.findIndex(({ vm, volume }) => vm === rule.vm && volume === rule.volume)
  const volume = volumes[index]
  if (volume === undefined) throw new Fault('FILE_VOLUME_ABSENT')
  if (!rule.path.startsWith('/') || rule.path.includes('\0')) throw new Fault('FILE_PATH_INVALID')
  await placed({ volume: index + 1 }, () =>
    withVolume(directory, volume, async whole => {
      const places = (await contentsOf(whole)).filter(({ kind }) => kind === 'ext')
      if (places.length === 0) throw new Fault('FILE_UNPROVABLE')
      for (const { region, partition } of places) {
        const file = await placed({ partition }, () => lookUp(region, rule.path, ports))
        if (file === null) continue
        await placed({ partition }, () => proveFound(region, rule, file, snapshotTime, ports))
        return
      }
      throw new Fault('FILE_ABSENT')
    }),
  )
}

interface Found {
  readonly inode: number
  readonly bytes: number
  readonly modified: Date
}

/** `null`: no plain file has that name. */
async function lookUp(region: Region, path: string, ports: CheckPorts): Promise<Found | null> {
  ports.used('debugfs')
  const end = await runTool({ program, arguments: ['-R', `stat ${quoted(path)}`, imageOf(region)] }, ports)
  if (end.kind !== 'ended') throw new Fault(faultsOfTools[end.kind])
  return parseStat(end.output)
}

/** An argument for the command line of debugfs (libss): all stands for itself but a quote, which is doubled. */
function quoted(path: string): string {
  return `"${path.replaceAll('"', '""')}"`
}

/** What debugfs says of a plain file; names and attributes, which may be hostile, come later in it or not at all. */
export function parseStat(output: string): Found | null {
  const [, inode] = /^Inode: (\d{1,10}) +Type: regular +Mode: /.exec(output) ?? []
  const [, bytes] = /^User: +\d+ +Group: +\d+(?: +Project: +\d+)? +Size: (\d{1,20})$/m.exec(output) ?? []
  const [, low, high] = /^ *mtime: 0x([0-9a-f]{8})(?::([0-9a-f]{8}))? -- /m.exec(output) ?? []
  if (inode === undefined || bytes === undefined || low === undefined) return null
  // The two lowest bits of the other half are those beyond 32.
  const epoch = Number.parseInt(high ?? '0', 16) & 3
  const seconds = (Number.parseInt(low, 16) | 0) + epoch * 2 ** 32
  return { inode: Number(inode), bytes: Number(bytes), modified: new Date(seconds * 1000) }
}

async function proveFound(
  region: Region,
  rule: FileAssertion,
  file: Found,
  snapshotTime: Date,
  ports: CheckPorts,
): Promise<void> {
  if (rule.ageDaysMax !== null) {
    const age = (snapshotTime.getTime() - file.modified.getTime()) / dayMilliseconds
    // A day for time zones and clocks: a file of the future says nothing of its age.
    if (age > rule.ageDaysMax || age < -1) throw new Fault('FILE_AGE')
  }
  if (rule.sha256 === null && rule.contains === null) return
  if (file.bytes > region.bytes) throw new Fault('FILE_IMPLAUSIBLE')
  const { sha256, beginning } = await readFile(region, file, ports)
  if (rule.sha256 !== null && sha256 !== rule.sha256) throw new Fault('FILE_DIGEST')
  if (rule.contains !== null && !beginning.toString('utf8').includes(rule.contains))
    throw new Fault('FILE_WITHOUT')
}

async function readFile(region: Region, { inode, bytes }: Found, ports: CheckPorts) {
  const hash = createHash('sha256')
  const beginning: Buffer[] = []
  let at = 0
  const take = (part: Buffer) => {
    hash.update(part)
    if (at < searchedBytes) beginning.push(Buffer.from(part.subarray(0, searchedBytes - at)))
    at += part.byteLength
    return at <= bytes
  }
  const end = await runTool({ program, arguments: ['-R', `cat <${inode}>`, imageOf(region)], take }, ports)
  if (end.kind !== 'ended') throw new Fault(faultsOfTools[end.kind])
  // It ends with 0 and stops early when a block cannot be read.
  if (at !== bytes) throw new Fault('FILE_UNREADABLE')
  return { sha256: hash.digest('hex'), beginning: Buffer.concat(beginning) }
}
