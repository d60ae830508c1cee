import type { X509Certificate } from 'node:crypto'
import { equalConstantTime } from '../base/bytes.ts'
import type { Entropy } from '../base/environment.ts'
import { Secret } from '../base/secret.ts'
import { sha256Hex } from '../crypto/digest.ts'
import { namesSoftware, parseCertificate, whyNotCertified } from '../tpm/public/certificate.ts'
import { type Credential, makeCredential } from '../tpm/public/credential.ts'
import { type PublicArea, whyNotAttestationKey } from '../tpm/public/public-area.ts'
import { SealError } from './errors.ts'
import { type EnrolledMachine, keyDigest } from './machine.ts'

/*
 * Enrolment: the machine shows its endorsement key and its attestation key; only a TPM that holds both tells the secret of the
 * challenge. That it is the right TPM is for the certificate of its maker, or for the person who is there.
 */

const challengeLength = 32

export interface EnrolmentOffer {
  readonly endorsementKey: PublicArea
  readonly attestationKey: PublicArea
}

export interface EnrolmentChallenge {
  /** To be sent to the machine. */
  readonly credential: Credential
  /** To be kept until the answer is there, then disposed of. */
  readonly expected: Secret
}

/** Throws `SEAL_ENROLMENT_WRONG`, or `TPM_KEY_INVALID` for an endorsement key to which no challenge can be made. */
export function challengeMachine(
  { endorsementKey, attestationKey }: EnrolmentOffer,
  entropy: Entropy,
): EnrolmentChallenge {
  const unfit = whyNotAttestationKey(attestationKey)
  if (unfit !== null) throw new SealError('SEAL_ENROLMENT_WRONG', `the attestation key: ${unfit}`)
  const expected = Secret.take(entropy.bytes(challengeLength))
  try {
    return { credential: makeCredential(endorsementKey, attestationKey.name, expected, entropy), expected }
  } catch (error) {
    expected.dispose()
    throw error
  }
}

/** What is pinned once the machine has told the secret. Throws `SEAL_ENROLMENT_WRONG`. */
export function enrol(
  { endorsementKey, attestationKey }: EnrolmentOffer,
  expected: Secret,
  answer: Secret,
  agreed: Omit<EnrolledMachine, 'endorsement' | 'attestationKey'>,
): EnrolledMachine {
  if (!expected.expose(wanted => answer.expose(told => equalConstantTime(wanted, told))))
    throw new SealError('SEAL_ENROLMENT_WRONG', 'the machine did not answer the challenge')
  return { endorsement: keyDigest(endorsementKey), attestationKey, ...agreed }
}

/** What vouches for a TPM: its certificate as the machine sent it, and whose word counts. */
export interface MakerEvidence {
  /** DER. */
  readonly certificate: Uint8Array | null
  readonly roots: readonly X509Certificate[]
  readonly intermediates: readonly X509Certificate[]
  /** What the TPM says of itself: believed when it says that it is software. */
  readonly saysSoftware: boolean
}

/**
 * What is known about the TPM. Throws `SEAL_ENROLMENT_WRONG` when a certificate was sent that cannot be believed; none is no
 * error, but proves nothing. `TPM_MALFORMED` for what is no certificate.
 */
export function judgeTpm(
  { endorsementKey }: EnrolmentOffer,
  { certificate: untrustedDer, roots, intermediates, saysSoftware }: MakerEvidence,
  now: Date,
): Pick<EnrolledMachine, 'tpm' | 'certificate'> {
  if (untrustedDer === null) return { tpm: saysSoftware ? 'software' : 'unproven', certificate: null }
  const certificate = parseCertificate(untrustedDer)
  const digest = sha256Hex(untrustedDer)
  const isSoftware = saysSoftware || namesSoftware(certificate)
  if (roots.length === 0) return { tpm: isSoftware ? 'software' : 'unproven', certificate: digest }
  const fault = whyNotCertified(certificate, { endorsementKey, roots, intermediates, now })
  if (fault !== null) throw new SealError('SEAL_ENROLMENT_WRONG', `the certificate of the TPM: ${fault}`)
  return { tpm: isSoftware ? 'software' : 'hardware', certificate: digest }
}
