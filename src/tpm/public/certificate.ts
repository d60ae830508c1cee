import { X509Certificate } from 'node:crypto'
import { view } from '../../base/bytes.ts'
import { TpmError } from '../errors.ts'
import type { PublicArea } from './public-area.ts'

/*
 * The certificate of an endorsement key: its maker's word that the key sits in a TPM of theirs. Whose word counts is for whoever
 * verifies to say; nothing is fetched, and revocation is not asked for.
 */

const chainLengthMax = 6
const certificateBytesMax = 8192

/** DER. Throws `TPM_MALFORMED`. */
export function parseCertificate(untrustedDer: Uint8Array): X509Certificate {
  if (untrustedDer.byteLength > certificateBytesMax)
    throw new TpmError('TPM_MALFORMED', `a certificate of ${untrustedDer.byteLength} bytes`)
  try {
    return new X509Certificate(view(untrustedDer))
  } catch (cause) {
    throw new TpmError('TPM_MALFORMED', 'not a certificate', { cause })
  }
}

export interface CertificateExpectation {
  readonly endorsementKey: PublicArea
  /** Of makers: the only certificates that need no other. */
  readonly roots: readonly X509Certificate[]
  /** May stand between; trusted for nothing by themselves. */
  readonly intermediates: readonly X509Certificate[]
  readonly now: Date
}

/** `null` when a root vouches for the key; else why not. */
export function whyNotCertified(
  certificate: X509Certificate,
  { endorsementKey, roots, intermediates, now }: CertificateExpectation,
): string | null {
  if (!certificate.publicKey.equals(endorsementKey.key)) return 'the certificate is of another key'
  if (certificate.ca) return 'the certificate is one of an authority'
  let current = certificate
  for (let length = 0; length < chainLengthMax; length++) {
    if (!isValid(current, now)) return `'${current.subject}' is not valid at this time`
    if (roots.some(root => root.raw.equals(current.raw)))
      return length === 0 ? 'the certificate vouches for itself' : null
    const issuer = [...roots, ...intermediates].find(one => hasIssued(one, current))
    if (issuer === undefined) return 'no trusted authority has issued the certificate'
    current = issuer
  }
  return 'too many authorities stand between'
}

function hasIssued(issuer: X509Certificate, certificate: X509Certificate): boolean {
  return issuer.ca && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)
}

function isValid({ validFromDate, validToDate }: X509Certificate, now: Date): boolean {
  return validFromDate <= now && now <= validToDate
}

/** Whether the certificate itself names a software TPM as the model (TCG EK Credential Profile 3.2.9). */
export function namesSoftware({ subjectAltName = '' }: X509Certificate): boolean {
  return /\bswtpm\b|simulator/i.test(subjectAltName)
}
