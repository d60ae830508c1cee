import type { Entropy } from '../base/environment.ts'
import { generateEd25519, signEd25519 } from '../crypto/signing.ts'
import { type PublicKey, publicKey } from './keys.ts'
import type { SealSigner } from './signer.ts'

/** A key that is nowhere but in this process, and zeroed at its end. */
export interface MemorySigner extends SealSigner, Disposable {
  readonly publicKey: PublicKey
}

export function memorySigner(entropy: Entropy): MemorySigner {
  const generated = generateEd25519(entropy)
  const own = publicKey('ed25519', generated.publicKey)
  return {
    keyId: own.id,
    publicKey: own,
    sign: async encoding => signEd25519(generated.privateKey, encoding),
    [Symbol.dispose]: () => generated[Symbol.dispose](),
  }
}
