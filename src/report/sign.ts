import { verifierKey } from '../ledger/note.ts'
import type { Signer } from '../ledger/signing.ts'
import { encodeEnvelope, preAuthEncoding } from '../sealing/envelope.ts'
import { publicKey } from '../sealing/keys.ts'
import { type DrillReport, encodeReport } from './report.ts'
import { reportPayloadType, verifyReport } from './verify.ts'
import { reported } from './words.ts'

/**
 * A report as a file, with this product's words in the place of the messages of its levels, signed by the key of the ledger that
 * it names. What is signed begins with `DSSEv1 `, and no checkpoint of a ledger does: its first line is a name without spaces. So
 * neither can be shown as the other. Throws `REPORT_MALFORMED`, `REPORT_SIGNATURE` when the signer's answer does not verify, and
 * what the signer throws.
 */
export async function signReport(report: DrillReport, signer: Signer): Promise<Uint8Array> {
  const payload = encodeReport({ ...report, levels: report.levels.map(reported) })
  const signature = await signer.sign(preAuthEncoding(reportPayloadType, payload))
  const { id: keyId } = publicKey('ed25519', signer.publicKey)
  const bytes = encodeEnvelope({
    payloadType: reportPayloadType,
    payload,
    signatures: [{ keyId, signature }],
  })
  // Otherwise an auditor would be the first to find out, years later.
  verifyReport(bytes, verifierKey(report.ledger.origin, 'ed25519', signer.publicKey))
  return bytes
}
