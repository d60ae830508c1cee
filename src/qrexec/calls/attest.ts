import { BaseError } from '../../base/base-errors.ts'
import { fromBase64, KiB, toBase64, utf8 } from '../../base/bytes.ts'
import { fields, is } from '../../base/json.ts'
import { type Digest, parseDigest } from '../../base/names.ts'
import type { Call, Codec } from '../call.ts'
import { json } from './codecs.ts'

/*
 * What a verifier asks of dom0 and its TPM, and what it is answered. Bytes, for those who can read them: `src/sealing` has the
 * attestation, `src/tpm` the keys and the challenge.
 */

export const attestationBytesMax = 64 * KiB
const areaBytesMax = KiB
const credentialBytesMax = KiB
const activatedBytesMax = 64
const certificateBytesMax = 8 * KiB
const answerBytesMax = 2 * attestationBytesMax

const base64 = (bytesMax: number) =>
  is.name(untrustedText => {
    const bytes = fromBase64(untrustedText)
    if (bytes.byteLength <= bytesMax) return bytes
    throw new BaseError('FIELD_INVALID', `expected at most ${bytesMax} bytes in base64`)
  })

const parseCredential = fields('credential', {
  blob: base64(credentialBytesMax),
  encryptedSeed: base64(credentialBytesMax),
})
/** To which only the TPM that holds both keys has the answer (TPM2_MakeCredential). */
export type CredentialBytes = ReturnType<typeof parseCredential>

export const parseQuestion = fields('question', {
  /** 32 random bytes in hex, used once. */
  nonce: is.name(parseDigest),
  credential: is.nullable(parseCredential),
})
/** `credential`: the verifier does not know this machine yet. */
export type Question = { readonly nonce: Digest; readonly credential: CredentialBytes | null }

export const parseAttested = fields('attested', {
  /** As `sealing/attestation.ts` encodes it. */
  attestation: base64(attestationBytesMax),
  /** TPMT_PUBLIC, both. */
  endorsementKey: base64(areaBytesMax),
  attestationKey: base64(areaBytesMax),
  /** X.509, as the TPM has it. */
  certificate: is.nullable(base64(certificateBytesMax)),
  /** Whether the TPM says of itself that it is software. */
  software: is.boolean,
  /** Into which PCR the store is measured. */
  storePcr: is.integer(0, 23),
  /** In the TPM's memory, at `base + version` of the store. */
  counter: is.nullable(fields('counter', { index: is.integer(), base: is.integer(Number.MIN_SAFE_INTEGER) })),
  /** The answer to the credential, where there was one. */
  activated: is.nullable(base64(activatedBytesMax)),
})
export type Attested = ReturnType<typeof parseAttested>

export function questionJson({ nonce, credential }: Question) {
  const encoded = credential && {
    blob: toBase64(credential.blob),
    encryptedSeed: toBase64(credential.encryptedSeed),
  }
  return { nonce, credential: encoded }
}

export function attestedJson(attested: Attested) {
  const { attestation, endorsementKey, attestationKey, certificate, activated } = attested
  return {
    ...attested,
    attestation: toBase64(attestation),
    endorsementKey: toBase64(endorsementKey),
    attestationKey: toBase64(attestationKey),
    certificate: certificate && toBase64(certificate),
    activated: activated && toBase64(activated),
  }
}

const parseAnswer = fields('attest', { attested: is.nullable(parseAttested) })
/** `null`: dom0 has no TPM. */
export type AttestAnswer = ReturnType<typeof parseAnswer>

const questionCodec: Codec<Question> = {
  ...json(parseQuestion, 4 * KiB),
  encode: question => utf8(JSON.stringify(questionJson(question))),
}

const answerCodec: Codec<AttestAnswer> = {
  ...json(parseAnswer, answerBytesMax),
  encode: ({ attested }) => utf8(JSON.stringify({ attested: attested && attestedJson(attested) })),
}

export const attestMachine = {
  service: 'strongroom.Attest',
  argument: 'none',
  from: ['management'],
  to: 'dom0',
  summary: 'which sealed store dom0 uses, signed by its TPM together with the question',
  request: questionCodec,
  response: answerCodec,
} as const satisfies Call<Question, AttestAnswer>
