import { utf8 } from '../base/bytes.ts'
import { verifyEd25519 } from '../crypto/signature.ts'
import { type Checkpoint, checkpointBody, cosignedMessage, type SignedCheckpoint } from './checkpoint.ts'
import { LedgerError } from './errors.ts'
import { formatSignatureLine, type NoteSignature, type VerifierKey, verifierKey } from './note.ts'

/*
 * Private half of `checkpoint.ts`. The key itself is elsewhere, in a token or a file: here is only who may be asked.
 */

export interface Signer {
  /** 32 bytes, RFC 8032. */
  readonly publicKey: Uint8Array
  /** The 64 bytes of an Ed25519 signature over `message`. */
  sign(message: Uint8Array): Promise<Uint8Array>
}

/** Signs as the ledger named `checkpoint.origin`. Throws `LEDGER_SIGNER`. */
export async function signCheckpoint(checkpoint: Checkpoint, signer: Signer): Promise<SignedCheckpoint> {
  const key = verifierKey(checkpoint.origin, 'ed25519', signer.publicKey)
  const signature = await signed(key, utf8(checkpointBody(checkpoint)), signer)
  return { ...checkpoint, signatures: [{ name: key.name, keyId: key.id, signature }] }
}

/**
 * A witness's line under a checkpoint it has verified, with its newline. `now` is rounded down to seconds. The key must
 * sign nothing else than cosignatures of this witness (tlog-cosignature).
 */
export async function cosign(
  checkpoint: Checkpoint,
  witness: string,
  signer: Signer,
  now: Date,
): Promise<string> {
  const key = verifierKey(witness, 'cosignature/v1', signer.publicKey)
  const seconds = BigInt(Math.floor(now.getTime() / 1000))
  const signature = await signed(key, cosignedMessage(checkpoint, seconds), signer)
  const timestamp = Buffer.alloc(8)
  timestamp.writeBigUInt64BE(seconds)
  const line: NoteSignature = {
    name: key.name,
    keyId: key.id,
    signature: Buffer.concat([timestamp, signature]),
  }
  return formatSignatureLine(line)
}

async function signed(key: VerifierKey, message: Uint8Array, signer: Signer): Promise<Uint8Array> {
  const signature = await signer.sign(message).catch(cause => {
    throw new LedgerError('LEDGER_SIGNER', `${key.name} could not sign`, { cause })
  })
  // A signature that does not verify, once written, would make the ledger unreadable.
  if (!verifyEd25519(key.publicKey, message, signature))
    throw new LedgerError(
      'LEDGER_SIGNER',
      `the signature by ${key.name} does not verify with its own public key`,
    )
  return signature
}
