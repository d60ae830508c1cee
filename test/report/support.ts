import { toBase64 } from '../../src/base/bytes.ts'
import { drillLevels } from '../../src/base/drill-levels.ts'
import { ledgerKey } from '../../src/ledger/identities.ts'
import { Ledger } from '../../src/ledger/log.ts'
import {
  type DrillReport,
  parseReport,
  predicateOf,
  predicateType,
  statementType,
} from '../../src/report/report.ts'
import { clock, jobEntries, repositoryEntry, snapshotEntry, testSigner } from '../ledger/support.ts'

export const dom0 = testSigner(5)
export const key = ledgerKey({ dom0: dom0.publicKey })
export const rawKey = toBase64(dom0.publicKey)

/** A ledger with a snapshot, some entries before and after a report is made, and the report. */
export async function reportedLedger(directory: string): Promise<{ ledger: Ledger; report: DrillReport }> {
  const ledger = await Ledger.create(directory, { origin: key.name, signer: dom0, clock })
  const { index: entry } = await ledger.append([repositoryEntry(), snapshotEntry('c'), ...jobEntries(300)])
  const report = reportOf(
    { origin: key.name, size: ledger.size, root: await ledger.root(ledger.size) },
    entry + 1,
  )
  await ledger.append(jobEntries(5, 400))
  return { ledger, report }
}

const snapshot = snapshotEntry('c')

export function reportOf(ledger: DrillReport['ledger'], entry = 2): DrillReport {
  const predicate = {
    profile: snapshot.profile,
    epoch: snapshot.epoch,
    job: '20261124T041500Z-1f2e3d4c',
    configuration: 'd'.repeat(64),
    began: '2026-11-24T04:15:00.000Z',
    ended: '2026-11-24T04:31:07.250Z',
    snapshot: { id: snapshot.snapshotId, time: snapshot.time, manifest: snapshot.manifest, entry },
    wanted: drillLevels,
    levels: drillLevels.map((level, at) => ({
      level,
      result: 'passed',
      message: 'as it should be',
      milliseconds: 1500 * at,
    })),
    restore: { milliseconds: 187_000, bytes: 1_610_612_736, bytesPerSecond: 12_582_912 },
    tools: ['e2fsck 1.47.0', 'sfdisk 2.38.1'],
    version: '0.1.0',
    withinDays: 30,
    ledger: { ...ledger, root: toBase64(ledger.root) },
    verdict: 'passed',
  }
  return parseReport(Buffer.from(JSON.stringify(statementOf(predicate))))
}

/** The statement around a predicate, whatever that says. */
export function statementOf(predicate: { snapshot: { id: string }; profile: string; epoch: number }): object {
  const {
    profile,
    epoch,
    snapshot: { id },
  } = predicate
  const subject = [{ name: `${profile}.e${epoch}/snapshots/${id}`, digest: { sha256: id } }]
  return { _type: statementType, subject, predicateType, predicate }
}

/** As JSON, to be changed. */
export function plain(report: DrillReport): Parameters<typeof statementOf>[0] {
  return JSON.parse(JSON.stringify(predicateOf(report))) as Parameters<typeof statementOf>[0]
}

export const position = { origin: key.name, size: 303, root: new Uint8Array(32).fill(7) }

/** The same drill, stopped at file systems. */
export function failedReport(): DrillReport {
  const report = reportOf(position)
  const levels = report.levels
    .slice(0, 3)
    .map(one => (one.level === 'filesystem' ? { ...one, result: 'failed' as const } : one))
  return { ...report, levels, verdict: 'failed' }
}
