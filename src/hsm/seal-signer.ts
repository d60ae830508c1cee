import { lowerS } from '../sealing/ecdsa.ts'
import { type PublicKey, publicKey } from '../sealing/keys.ts'
import type { SealSigner } from '../sealing/signer.ts'
import { HsmError } from './errors.ts'
import type { TokenSealKey } from './token-protocol.ts'

/** What sealing needs of a token; `TokenProcess` is one. */
export interface SealingToken {
  sealKey(make: boolean, signal: AbortSignal): Promise<TokenSealKey | null>
  seal(message: Uint8Array, signal: AbortSignal): Promise<Uint8Array>
}

export interface TokenSigner extends SealSigner {
  readonly publicKey: PublicKey
}

/** The sealing key of a token, made in it where it is missing and `make` says so. Throws `HSM_KEY_MISSING`. */
export async function tokenSigner(
  token: SealingToken,
  make: boolean,
  signal: AbortSignal,
): Promise<TokenSigner> {
  const found = await token.sealKey(make, signal)
  if (found === null)
    throw new HsmError('HSM_KEY_MISSING', 'the token has no sealing key', {
      hint: 'make one: strongroom seal key NAME --token LABEL',
    })
  const own = publicKey(found.type, found.bytes)
  return {
    keyId: own.id,
    publicKey: own,
    sign: async (encoding, signing) => {
      const signature = await token.seal(encoding, signing)
      return own.type === 'ed25519' ? signature : lowerS(signature)
    },
  }
}
