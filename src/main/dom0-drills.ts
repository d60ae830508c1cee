import { readdir, stat, unlink } from 'node:fs/promises'
import path from 'node:path'
import { fromUtf8, GiB, MiB } from '../base/bytes.ts'
import { ignoreMissing, makePrivateDirectory, readBounded, writeDurably } from '../base/files.ts'
import type { Log } from '../base/log.ts'
import type { JobId } from '../base/names.ts'
import { productVersion } from '../base/version.ts'
import { sha256Hex } from '../crypto/digest.ts'
import { examineVolumes } from '../drill/examine.ts'
import type { DrillFacts, DrillPorts } from '../engine/drill-ports.ts'
import { bootThrough } from '../host/local/boot-door.ts'
import { openDrillRooms } from '../host/local/drill-rooms.ts'
import type { Sandboxes, SandboxLimits } from '../host/sandboxes.ts'
import type { Checkpoint } from '../ledger/checkpoint.ts'
import type { Signer } from '../ledger/signing.ts'
import { type DrillReport, parseToolVersion, reportBytesMax } from '../report/report.ts'
import { signReport } from '../report/sign.ts'
import type { Restorer } from '../repository/examination.ts'

/** A report is a few KiB; its digest stays in the ledger. */
const reportsKeptMax = 1000
const bootLimits = { memoryBytes: GiB, writtenBytesMax: GiB, saidBytesMax: 64 * MiB }

export interface Dom0DrillsOptions {
  /** dom0's own directory: `drills/`, while they last, and `reports/`. */
  readonly home: string
  readonly restorer: Restorer
  readonly sandboxes: Sandboxes
  readonly limits: SandboxLimits
  /** Where restored VMs are started; absent: nowhere. */
  readonly boots: string | undefined
  readonly signer: Signer
  readonly head: () => Checkpoint
  readonly log: Log
}

/** Drills on the local host, and their signed reports. */
export async function dom0Drills(options: Dom0DrillsOptions): Promise<DrillPorts> {
  const { home, restorer, sandboxes, limits, boots, log } = options
  const reports = path.join(home, 'reports')
  await makePrivateDirectory(reports)
  const fileOf = (job: JobId) => path.join(reports, `${job}.json`)
  return {
    restoreInto: (...all) => restorer.restoreInto(...all),
    rooms: await openDrillRooms(path.join(home, 'drills')),
    examine: (order, signal) => examineVolumes({ sandboxes, limits, log }, order, signal),
    boot:
      boots === undefined ? null : (rule, job, signal) => bootThrough(boots, job, rule, bootLimits, signal),
    async report(facts) {
      const bytes = await signReport(reportOf(facts, options.head()), options.signer)
      await writeDurably(fileOf(facts.job.id), bytes)
      await removeOldest(reports)
      return sha256Hex(bytes)
    },
    async readReport(job) {
      const found = await readBounded(fileOf(job), reportBytesMax)
      return found === null ? null : found.parse(fromUtf8)
    },
  }
}

function reportOf(
  { job, configuration, history, snapshot, rules, began, ended, result, levels, tools, restored }: DrillFacts,
  { origin, size, root }: Checkpoint,
): DrillReport {
  const { snapshotId: id, time, manifest, entry, bytes } = snapshot
  const { levels: wanted, withinDays } = rules
  return {
    profile: job.profile,
    epoch: history.epoch,
    job: job.id,
    configuration,
    began,
    ended,
    snapshot: { id, time, manifest, entry },
    wanted,
    levels,
    restore:
      restored === null
        ? null
        : {
            milliseconds: restored.fromOrder,
            bytes,
            bytesPerSecond: Math.round((bytes * 1000) / Math.max(1, restored.milliseconds)),
          },
    tools: tools.filter(isVersion),
    version: productVersion(),
    withinDays,
    ledger: { origin, size, root },
    verdict: result,
  }
}

/** A sandbox named them. */
function isVersion(untrustedText: string): boolean {
  try {
    parseToolVersion(untrustedText)
    return true
  } catch {
    return false
  }
}

async function removeOldest(reports: string): Promise<void> {
  const files = (await readdir(reports)).filter(name => name.endsWith('.json'))
  if (files.length <= reportsKeptMax) return
  const times = await Promise.all(
    files.map(async name => ({ name, time: (await stat(path.join(reports, name))).mtimeMs })),
  )
  for (const { name } of times.sort((one, other) => other.time - one.time).slice(reportsKeptMax))
    await unlink(path.join(reports, name)).catch(ignoreMissing)
}
