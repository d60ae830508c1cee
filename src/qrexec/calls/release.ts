import { BaseError } from '../../base/base-errors.ts'
import { fromBase64, fromHex, KiB, toBase64, toHex, utf8 } from '../../base/bytes.ts'
import { fields, is, parseJson } from '../../base/json.ts'
import { Secret } from '../../base/secret.ts'
import type { Call, Codec, StreamCall } from '../call.ts'
import { attestedJson, parseAttested, parseQuestion, type Question, questionJson } from './attest.ts'
import { json } from './codecs.ts'

/*
 * What dom0 may ask of the HSM VM: the passphrase of one job, and its signature as a witness. dom0 shows a ledger that
 * holds the request; the HSM VM believes the proofs, not dom0.
 */

const checkpointCharactersMax = 64 * KiB
const cosignatureCharactersMax = KiB
const entryBytesMax = 0xffff
const hashBytes = 32
const proofHashesMax = 63
const requestBytesMax = 384 * KiB
const headerBytesMax = 4 * KiB
const passphraseBytesMax = 1024
const newline = 0x0a

const hashes = is.array(
  is.name(text => fromHex(text, hashBytes)),
  proofHashesMax,
)

/** That the checkpoint continues the first `from` entries, which the witness has seen. */
const consistency = fields('consistency', { from: is.integer(), proof: hashes })

const entryBytes = is.name(untrustedText => {
  const bytes = fromBase64(untrustedText)
  if (bytes.byteLength > entryBytesMax)
    throw new BaseError('FIELD_INVALID', `expected an entry of at most ${entryBytesMax} bytes`)
  return bytes
})

const parseReleaseCall = fields('release', {
  /** The ledger's leaf that records the request, as bytes. */
  entry: entryBytes,
  index: is.integer(),
  /** A signed note, not yet verified. */
  checkpoint: is.string(checkpointCharactersMax),
  /** That `entry` stands at `index`. */
  inclusion: hashes,
  consistency,
  /** The answer to the question that came instead of a passphrase. */
  attested: is.nullable(parseAttested),
})
export type ReleaseCall = ReturnType<typeof parseReleaseCall>

const parseWitnessCall = fields('checkpoint', { checkpoint: is.string(checkpointCharactersMax), consistency })
export type WitnessCall = ReturnType<typeof parseWitnessCall>
type Consistency = WitnessCall['consistency']

/** The witness has seen `size` entries; a proof from there is wanted. Nothing was recorded or released. */
export interface WitnessAhead {
  readonly witnessSize: number
}

/** The sealed binding wants dom0 to prove which store it uses. Nothing was released. */
export interface AttestationAsked {
  readonly question: Question
}

/** A person has not decided yet: to be asked again in a while. Nothing was released. */
export interface PersonAsked {
  readonly pending: true
}

/** `cosignature`: one signature line of a signed note, with its newline. */
export type ReleaseAnswer =
  | { readonly cosignature: string; readonly passphrase: Secret }
  | WitnessAhead
  | AttestationAsked
  | PersonAsked
export type WitnessAnswer = { readonly cosignature: string } | WitnessAhead

const released = fields('release header', { cosignature: is.string(cosignatureCharactersMax) })
const ahead = fields('release header', { witnessSize: is.integer() })

function parseHeader(untrustedValue: unknown): WitnessAnswer {
  const isAhead =
    typeof untrustedValue === 'object' && untrustedValue !== null && 'witnessSize' in untrustedValue
  return isAhead ? ahead(untrustedValue) : released(untrustedValue)
}

const asked = fields('release header', { question: parseQuestion })

const personAsked = fields('release header', {
  pending: (value: unknown): true => {
    if (value === true) return value
    throw new BaseError('FIELD_INVALID', 'expected true')
  },
})

function parseReleaseHeader(untrustedValue: unknown): WitnessAnswer | AttestationAsked | PersonAsked {
  if (typeof untrustedValue === 'object' && untrustedValue !== null && 'pending' in untrustedValue)
    return personAsked(untrustedValue)
  const isAsked =
    typeof untrustedValue === 'object' && untrustedValue !== null && 'question' in untrustedValue
  return isAsked ? asked(untrustedValue) : parseHeader(untrustedValue)
}

const encodeConsistency = ({ from, proof }: Consistency) => ({ from, proof: proof.map(toHex) })

const releaseCallCodec: Codec<ReleaseCall> = {
  ...json(parseReleaseCall, requestBytesMax),
  encode: ({ entry, index, checkpoint, inclusion, consistency, attested }) =>
    utf8(
      JSON.stringify({
        entry: toBase64(entry),
        index,
        checkpoint,
        inclusion: inclusion.map(toHex),
        consistency: encodeConsistency(consistency),
        attested: attested && attestedJson(attested),
      }),
    ),
}

const witnessCallCodec: Codec<WitnessCall> = {
  ...json(parseWitnessCall, requestBytesMax),
  encode: ({ checkpoint, consistency }) =>
    utf8(JSON.stringify({ checkpoint, consistency: encodeConsistency(consistency) })),
}

/**
 * A line of JSON, then the passphrase as it is. Encoding ends the secret, and decoding zeroes the bytes it came in: on
 * either side one copy is left.
 */
const releaseAnswerCodec: Codec<ReleaseAnswer> = {
  bytesMax: headerBytesMax + passphraseBytesMax,
  encode: answer => {
    if ('witnessSize' in answer || 'pending' in answer) return utf8(`${JSON.stringify(answer)}\n`)
    if ('question' in answer) return utf8(`${JSON.stringify({ question: questionJson(answer.question) })}\n`)
    const { cosignature, passphrase } = answer
    const header = utf8(`${JSON.stringify({ cosignature })}\n`)
    const bytes = new Uint8Array(header.byteLength + passphrase.byteLength)
    bytes.set(header)
    passphrase.expose(secret => bytes.set(secret, header.byteLength))
    passphrase.dispose()
    return bytes
  },
  decode: answer =>
    answer.parse(untrustedBytes => {
      const end = untrustedBytes.indexOf(newline)
      if (end < 0) throw new BaseError('FIELD_INVALID', 'the answer has no header line')
      using passphrase = Secret.take(untrustedBytes.subarray(end + 1))
      const header = parseReleaseHeader(
        parseJson(untrustedBytes.subarray(0, end), { bytesMax: headerBytesMax }),
      )
      const { byteLength } = passphrase
      if (!('cosignature' in header)) {
        if (byteLength > 0) throw new BaseError('FIELD_INVALID', 'a passphrase in an answer that has none')
        return header
      }
      if (byteLength === 0 || byteLength > passphraseBytesMax)
        throw new BaseError('FIELD_INVALID', `a passphrase of ${byteLength} bytes`)
      return { ...header, passphrase: Secret.take(passphrase.expose(bytes => bytes.slice())) }
    }),
}

export const releasePassphrase = {
  service: 'strongroom.Release',
  argument: 'profile',
  from: ['dom0'],
  to: 'hsm',
  summary: 'the passphrase of a profile for one job that is recorded in the ledger',
  request: releaseCallCodec,
  response: releaseAnswerCodec,
} as const satisfies Call<ReleaseCall, ReleaseAnswer>

export const witnessLedger = {
  service: 'strongroom.Witness',
  argument: 'none',
  from: ['dom0'],
  to: 'hsm',
  summary: 'the cosignature of the HSM VM under the newest checkpoint',
  request: witnessCallCodec,
  response: json(parseHeader, headerBytesMax),
} as const satisfies Call<WitnessCall, WitnessAnswer>

/** Stock Qubes (qubes-core-admin `qubes/backup.py`): no input; the output is the passphrase and nothing else. */
export const stockBackupPassphrase = {
  service: 'qubes.BackupPassphrase',
  argument: 'profile',
  from: ['dom0'],
  to: 'hsm',
  summary: "the passphrase of a profile for qubesd's own backup, where the sealed binding allows it",
  stream: true,
} as const satisfies StreamCall

/**
 * The counterpart, which stock Qubes does not have, for `qvm-backup-restore --passphrase-file`. Input: the number of an epoch, or
 * nothing for the sealed one; the output is the passphrase and nothing else.
 */
export const stockRestorePassphrase = {
  service: 'strongroom.RestorePassphrase',
  argument: 'profile',
  from: ['dom0'],
  to: 'hsm',
  summary: "the passphrase of a profile for Qubes' own restore, where the sealed binding allows it",
  stream: true,
} as const satisfies StreamCall
