import { BaseError } from '../../base/base-errors.ts'
import { fromBase64, KiB, MiB, toBase64, utf8 } from '../../base/bytes.ts'
import { fields, is } from '../../base/json.ts'
import type { Call, Codec } from '../call.ts'
import { json, nothing } from './codecs.ts'

/*
 * How the management VM follows dom0's ledger as a witness. What it is told proves itself: the checkpoint is signed, the
 * proof leads to it, and the entries are its leaves.
 */

export const pageEntriesMax = 500
/** Of the entries as bytes; at least one entry is sent, however large. */
export const pageBytesMax = MiB
export const checkpointCharactersMax = 64 * KiB
const cosignatureCharactersMax = KiB
const proofHashesMax = 63
const entryBytesMax = 0xffff

const base64 =
  (bytesMin: number, bytesMax: number) =>
  (untrustedValue: unknown): Uint8Array => {
    const bytes = fromBase64(is.string(4 * Math.ceil(bytesMax / 3))(untrustedValue))
    if (bytes.byteLength < bytesMin || bytes.byteLength > bytesMax)
      throw new BaseError('FIELD_INVALID', `expected ${bytesMin} to ${bytesMax} bytes in base64`)
    return bytes
  }

const parseLedgerPage = fields('ledger page', {
  /** The newest checkpoint: a signed note, not yet verified. */
  checkpoint: is.string(checkpointCharactersMax),
  /** That the checkpoint continues the tree of the first `from` entries. */
  consistency: is.array(base64(32, 32), proofHashesMax),
  /** Leaves from `from` on; more may follow, up to the checkpoint's size. */
  entries: is.array(base64(0, entryBytesMax), pageEntriesMax),
})
export type LedgerPage = ReturnType<typeof parseLedgerPage>

const pageJson = json(parseLedgerPage, 2 * MiB)
const pageCodec: Codec<LedgerPage> = {
  ...pageJson,
  encode: ({ checkpoint, consistency, entries }) =>
    utf8(
      JSON.stringify({ checkpoint, consistency: consistency.map(toBase64), entries: entries.map(toBase64) }),
    ),
}

const parseLedgerRequest = fields('ledger request', { from: is.integer() })
export type LedgerRequest = ReturnType<typeof parseLedgerRequest>

/** `from`: how many entries the caller has. If that is more than dom0 has, the answer is the smaller checkpoint alone. */
export const readLedger = {
  service: 'strongroom.Ledger',
  argument: 'none',
  from: ['management', 'hsm'],
  to: 'dom0',
  summary:
    'the newest signed checkpoint, the proof that it continues what the caller has, and the entries after it',
  request: json(parseLedgerRequest, KiB),
  response: pageCodec,
} as const satisfies Call<LedgerRequest, LedgerPage>

const parseCosignRequest = fields('cosignature', {
  /** Size of the checkpoint that was cosigned; the ledger may have grown since. */
  size: is.integer(),
  /** One signature line of a signed note, with its newline. */
  cosignature: is.string(cosignatureCharactersMax),
})
export type CosignRequest = ReturnType<typeof parseCosignRequest>

export const cosignLedger = {
  service: 'strongroom.Cosign',
  argument: 'none',
  from: ['management'],
  to: 'dom0',
  summary: 'hand dom0 the cosignature of a checkpoint',
  request: json(parseCosignRequest, 2 * KiB),
  response: nothing,
} as const satisfies Call<CosignRequest, undefined>
