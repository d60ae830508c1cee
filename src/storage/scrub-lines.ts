import type { Duplex } from 'node:stream'
import { utf8 } from '../base/bytes.ts'
import { fields, is, parseJson } from '../base/json.ts'
import type { StorageError } from './errors.ts'
import { type ObjectName, parseObjectName } from './object-store.ts'
import { asProtocolFault, broken } from './wire.ts'
import { errorReport, parseErrorReport } from './wire-payloads.ts'

/*
 * What a scrub says, and the lines of `strongroom.Scrub`: one JSON object each, any number of `progress`, and last a
 * `report` or an `error`.
 */

export const findingsMax = 100
export const scrubLineBytesMax = 32 * 1024

export interface ScrubProgress {
  readonly objectsDone: number
  readonly objectsTotal: number
  readonly bytesDone: number
  readonly bytesTotal: number
}

export const scrubFaults = ['content', 'unreadable'] as const

export interface ScrubFinding {
  readonly name: ObjectName
  /** `content`: its SHA-256 is not its name. `unreadable`: the disk does not give it back. */
  readonly fault: (typeof scrubFaults)[number]
}

export interface ScrubReport {
  /** Objects that were hashed, and their bytes, in this run and in those that it continues. */
  readonly objects: number
  readonly bytes: number
  readonly damaged: number
  /** The first `findingsMax` of the damaged ones. */
  readonly findings: readonly ScrubFinding[]
}

export type ScrubLine =
  | { readonly progress: ScrubProgress }
  | { readonly report: ScrubReport }
  | { readonly error: StorageError }

const parseProgress = fields('progress', {
  objectsDone: is.integer(),
  objectsTotal: is.integer(),
  bytesDone: is.integer(),
  bytesTotal: is.integer(),
})

const parseFindings = is.array(
  fields('finding', { name: is.name(parseObjectName), fault: is.literal(...scrubFaults) }),
  findingsMax,
)

export const reportFields = {
  objects: is.integer(),
  bytes: is.integer(),
  damaged: is.integer(),
  findings: parseFindings,
} as const

const parseShape = fields('line of a scrub', {
  progress: is.optional(parseProgress),
  report: is.optional(fields('report', reportFields)),
  error: is.optional(parseErrorReport),
})

/** An error crosses by its code, as those of a storage connection do. */
export function writeScrubLine(
  stream: Duplex,
  line: Exclude<ScrubLine, { error: unknown }> | { readonly error: unknown },
): void {
  const written = 'error' in line ? { error: errorReport(line.error) } : line
  stream.write(utf8(`${JSON.stringify(written)}\n`))
}

/** Throws `STORAGE_PROTOCOL` for anything else. */
export function parseScrubLine(untrustedLine: Uint8Array): ScrubLine {
  return asProtocolFault(() => {
    const { progress, report, error } = parseShape(parseJson(untrustedLine, { bytesMax: scrubLineBytesMax }))
    if (progress !== undefined) return { progress }
    if (error !== undefined) return { error }
    if (report === undefined) throw broken('a line of a scrub that says nothing')
    if (report.findings.length !== Math.min(report.damaged, findingsMax))
      throw broken(`a report of ${report.damaged} damaged objects that names ${report.findings.length}`)
    return { report }
  })
}
