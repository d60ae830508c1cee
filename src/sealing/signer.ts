import { verifySignature } from '../crypto/signature.ts'
import {
  type Envelope,
  type EnvelopeSignature,
  encodeEnvelope,
  parseEnvelope,
  preAuthEncoding,
} from './envelope.ts'
import { SealError } from './errors.ts'
import { type PublicKey, shortId } from './keys.ts'

/* The private half of `envelope.ts`. */

/** Whatever can sign: a key file, a token, a person at another machine. */
export interface SealSigner {
  readonly keyId: string
  /**
   * The signature over a pre-authentication encoding: 64 bytes, for P-256 `r || s` with the lower s. Waits for as long
   * as a person takes; an abort throws the signal's reason. Throws a `CodedError` when there will be no signature.
   */
  sign(encoding: Uint8Array, signal: AbortSignal): Promise<Uint8Array>
}

/**
 * An envelope with the signatures of all `signers` who hold one of `keys`. Throws `SEAL_SIGNERS_SHORT` before anyone is
 * asked when they are fewer than `threshold`.
 */
export async function signPayload(
  { what, payloadType, payload }: { what: string; payloadType: string; payload: Uint8Array },
  { keys, threshold }: { keys: readonly PublicKey[]; threshold: number },
  signers: readonly SealSigner[],
  signal: AbortSignal,
): Promise<Uint8Array> {
  const able = keys.filter(key => signers.some(signer => signer.keyId === key.id))
  if (able.length < threshold)
    throw new SealError(
      'SEAL_SIGNERS_SHORT',
      `${what}: ${able.length} of the ${threshold} keys needed are at hand; the role has ${keys.map(key => `${shortId(key.id)}…`).join(', ')}`,
    )
  const bare: Envelope = { payloadType, payload, signatures: [] }
  return encodeEnvelope(await addSignatures(bare, able, signers, what, signal))
}

/** The envelope with one more signature, for holders who sign one after another on machines of their own. */
export async function addSignature(
  envelopeBytes: Uint8Array,
  key: PublicKey,
  signer: SealSigner,
  what: string,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const envelope = parseEnvelope(envelopeBytes, what)
  if (envelope.signatures.some(({ keyId }) => keyId === key.id))
    throw new SealError('SEAL_SIGNED_TWICE', `${what}: key ${shortId(key.id)}… has signed already`)
  return encodeEnvelope(await addSignatures(envelope, [key], [signer], what, signal))
}

async function addSignatures(
  envelope: Envelope,
  keys: readonly PublicKey[],
  signers: readonly SealSigner[],
  what: string,
  signal: AbortSignal,
): Promise<Envelope> {
  const encoding = preAuthEncoding(envelope.payloadType, envelope.payload)
  const signatures: EnvelopeSignature[] = [...envelope.signatures]
  for (const key of keys) {
    const signer = signers.find(one => one.keyId === key.id)
    if (signer === undefined) continue
    const signature = await signer.sign(encoding, signal)
    // A token that answers nonsense is noticed here rather than on the machine that refuses the update.
    if (!verifySignature(key.handle, encoding, signature))
      throw new SealError(
        'SEAL_SIGNATURE_INVALID',
        `${what}: key ${shortId(key.id)}… gave a signature that does not verify`,
      )
    signatures.push({ keyId: key.id, signature })
  }
  return { ...envelope, signatures }
}
