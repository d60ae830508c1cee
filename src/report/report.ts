import { toBase64, utf8, view } from '../base/bytes.ts'
import { drillLevels, levelResults, parseLevelVerdict } from '../base/drill-levels.ts'
import { CodedError, printable } from '../base/errors.ts'
import { fields, is, parseJson } from '../base/json.ts'
import {
  parseDigest,
  parseJobId,
  parseProfileName,
  parseSnapshotId,
  repositoryOf,
  type SnapshotId,
} from '../base/names.ts'
import { nextDrillDue } from '../drill/due.ts'
import { hashBytes } from '../ledger/merkle.ts'
import { parseKeyName } from '../ledger/note.ts'
import { ReportError } from './errors.ts'

/*
 * What a drill report says: an in-toto Statement v1, https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md, about
 * one stored snapshot. It names what the ledger names and nothing more: no VM, volume or file, since whoever reads the ledger reads
 * reports.
 */

export const statementType = 'https://in-toto.io/Statement/v1'
/** A name, at which nothing is to be found. */
export const predicateType = 'https://strongroom.example/attestation/drill/v1'
/** Of a report as a file. */
export const reportBytesMax = 64 * 1024
const depthMax = 6
const toolsMax = 16

/** `e2fsck 1.47.0`. A sandbox that was taken over names its tools, so that this must not become a way to say something else. */
export function parseToolVersion(untrustedText: string): string {
  if (/^[a-z][a-z0-9._+-]{0,19} [0-9][0-9.]{0,11}$/.test(untrustedText)) return untrustedText
  throw malformed(`'${printable(untrustedText).slice(0, 60)}' is no tool with its version`)
}

function parseProductVersion(untrustedText: string): string {
  if (/^[0-9A-Za-z][0-9A-Za-z.+-]{0,39}$/.test(untrustedText)) return untrustedText
  throw malformed('that is no version of the product')
}

function parseRoot(untrustedText: string): Uint8Array {
  const bytes = Buffer.from(untrustedText, 'base64')
  if (bytes.byteLength === hashBytes && toBase64(bytes) === untrustedText) return new Uint8Array(bytes)
  throw malformed(`a root is ${hashBytes} bytes in canonical base64`)
}

const parseDrillReport = fields('predicate', {
  profile: is.name(parseProfileName),
  epoch: is.integer(1),
  job: is.name(parseJobId),
  /** Digest of the sealed configuration whose rules the drill followed. */
  configuration: is.name(parseDigest),
  began: is.time,
  ended: is.time,
  snapshot: fields('snapshot', {
    id: is.name(parseSnapshotId),
    time: is.time,
    manifest: is.name(parseDigest),
    /** Its place in the ledger. */
    entry: is.integer(),
  }),
  /** What the sealed profile wants proven, in the order of `drillLevels`. */
  wanted: is.array(is.literal(...drillLevels), drillLevels.length),
  /** One for each of `wanted`, up to and with the first that did not pass. */
  levels: is.array(parseLevelVerdict, drillLevels.length),
  /** `null`: nothing was restored in full. */
  restore: is.nullable(
    fields('restore', {
      /** From the order to the last volume: what a restore would have taken that day. */
      milliseconds: is.integer(),
      bytes: is.integer(),
      /** While volumes were restored. */
      bytesPerSecond: is.integer(),
    }),
  ),
  tools: is.array(is.name(parseToolVersion), toolsMax),
  /** Of this product. */
  version: is.name(parseProductVersion),
  /** Within how many days the sealed profile wants the next passed drill. */
  withinDays: is.nullable(is.integer(1)),
  /** The checkpoint at which the report was made. */
  ledger: fields('ledger', {
    origin: is.name(parseKeyName),
    size: is.integer(1),
    root: is.name(parseRoot),
  }),
  verdict: is.literal(...levelResults),
})
/** The predicate of the statement. */
export type DrillReport = ReturnType<typeof parseDrillReport>

const parseStatement = fields('statement', {
  _type: is.literal(statementType),
  subject: is.array(
    fields('subject', {
      name: is.string(200),
      digest: fields('digest', { sha256: is.name(parseSnapshotId) }),
    }),
    1,
  ),
  predicateType: is.literal(predicateType),
  predicate: parseDrillReport,
})

/** The snapshot as an object in storage: its name there, and its SHA-256. */
function subjectOf({ profile, epoch, snapshot }: DrillReport): {
  readonly name: string
  readonly digest: { readonly sha256: SnapshotId }
} {
  return {
    name: `${repositoryOf(profile, epoch)}/snapshots/${snapshot.id}`,
    digest: { sha256: snapshot.id },
  }
}

/** The one form of this report: fields in the order of their declaration, no spaces. Throws `REPORT_MALFORMED`. */
export function encodeReport(report: DrillReport): Uint8Array {
  const bytes = encoded(report)
  parseReport(bytes)
  return bytes
}

/** Until when the next drill has to have passed, by the rule that the report knows: at once after one that did not. */
export function nextDue({ verdict, ended, withinDays }: DrillReport): Date | null {
  return nextDrillDue(ended, verdict === 'passed' || withinDays === null ? withinDays : 0)
}

/** As JSON has it, but for its times; the order is that of the one accepted form. */
export function predicateOf(report: DrillReport): { readonly [K in keyof DrillReport]: unknown } {
  const { snapshot, levels, restore, ledger } = report
  return {
    profile: report.profile,
    epoch: report.epoch,
    job: report.job,
    configuration: report.configuration,
    began: report.began,
    ended: report.ended,
    snapshot: { id: snapshot.id, time: snapshot.time, manifest: snapshot.manifest, entry: snapshot.entry },
    wanted: report.wanted,
    levels: levels.map(({ level, result, message, milliseconds }) => ({
      level,
      result,
      message,
      milliseconds,
    })),
    restore: restore && {
      milliseconds: restore.milliseconds,
      bytes: restore.bytes,
      bytesPerSecond: restore.bytesPerSecond,
    },
    tools: report.tools,
    version: report.version,
    withinDays: report.withinDays,
    ledger: { origin: ledger.origin, size: ledger.size, root: toBase64(ledger.root) },
    verdict: report.verdict,
  }
}

function encoded(report: DrillReport): Uint8Array {
  const subject = [subjectOf(report)]
  const statement = { _type: statementType, subject, predicateType, predicate: predicateOf(report) }
  return utf8(JSON.stringify(statement))
}

/**
 * A statement in its one form, whose parts fit together. Throws `REPORT_MALFORMED`. Whoever has not verified the signature has
 * somebody's word.
 */
export function parseReport(untrustedBytes: Uint8Array): DrillReport {
  const { subject, predicate, expected } = shapeOf(untrustedBytes)
  if (subject[0]?.name !== expected.name || subject[0].digest.sha256 !== expected.digest.sha256)
    throw malformed('the subject is not the snapshot of the predicate')
  requireSense(predicate)
  if (!view(encoded(predicate)).equals(view(untrustedBytes)))
    throw malformed('the same could be written otherwise, and would be')
  return predicate
}

function shapeOf(
  untrustedBytes: Uint8Array,
): ReturnType<typeof parseStatement> & { readonly expected: ReturnType<typeof subjectOf> } {
  try {
    const statement = parseStatement(parseJson(untrustedBytes, { bytesMax: reportBytesMax, depthMax }))
    return { ...statement, expected: subjectOf(statement.predicate) }
  } catch (cause) {
    if (!(cause instanceof CodedError)) throw cause
    throw malformed(cause.message, cause)
  }
}

/** A report is read by people who do not compare its fields with one another. */
function requireSense({
  wanted,
  levels,
  verdict,
  restore,
  began,
  ended,
  snapshot,
  ledger,
}: DrillReport): void {
  const order = drillLevels.filter(level => wanted.includes(level))
  if (wanted.length === 0 || wanted.join() !== order.join())
    throw malformed('the levels wanted are none, doubled or out of order')
  const last = levels.at(-1)
  const isPrefix = levels.every(({ level }, at) => level === wanted[at])
  const isUpToFault = levels.slice(0, -1).every(({ result }) => result === 'passed')
  if (
    last === undefined ||
    !isPrefix ||
    !isUpToFault ||
    (last.result === 'passed') !== (verdict === 'passed')
  )
    throw malformed('the levels are not those wanted, up to and with the first that did not pass')
  if (last.result !== verdict || (verdict === 'passed' && levels.length < wanted.length))
    throw malformed('the verdict is not that of the levels')
  const isRestored = levels.some(({ level, result }) => level === 'data' && result === 'passed')
  if (isRestored !== (restore !== null)) throw malformed('a restore without its level, or a level without it')
  if (ended < began) throw malformed('it ended before it began')
  if (snapshot.entry >= ledger.size) throw malformed('its snapshot is beyond its place in the ledger')
  if (levels.some(({ message }) => message !== printable(message)))
    throw malformed('a message that cannot be printed')
}

function malformed(message: string, cause?: unknown): ReportError {
  return new ReportError('REPORT_MALFORMED', `the drill report: ${message}`, { cause })
}
