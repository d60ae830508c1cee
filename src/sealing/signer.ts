import { verifySignature } from '../crypto/signature.ts'
import { type Envelope, preAuthEncoding } from './envelope.ts'
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

/** The envelope with one more signature. Throws `SEAL_SIGNATURE_INVALID` for one that does not verify. */
export async function addSignature(
  envelope: Envelope,
  key: PublicKey,
  signer: SealSigner,
  what: string,
  signal: AbortSignal,
): Promise<Envelope> {
  const encoding = preAuthEncoding(envelope.payloadType, envelope.payload)
  const signature = await signer.sign(encoding, signal)
  // A token that answers nonsense is noticed here rather than on the machine that refuses the update.
  if (!verifySignature(key.handle, encoding, signature))
    throw new SealError(
      'SEAL_SIGNATURE_INVALID',
      `${what}: key ${shortId(key.id)}… gave a signature that does not verify`,
    )
  return { ...envelope, signatures: [...envelope.signatures, { keyId: key.id, signature }] }
}
