import type { WitnessToken } from './ledger-witness.ts'
import type { HsmToken } from './opening.ts'

/** Opens envelopes with one token and witnesses with another: for one that has no Ed25519. */
export function withWitness(token: HsmToken, witness: WitnessToken): HsmToken {
  return {
    publicKeys: async signal => {
      const [{ wrapping }, own] = await Promise.all([token.publicKeys(signal), witness.publicKeys(signal)])
      return { wrapping, witness: own.witness }
    },
    agree: (peerPoint, signal) => token.agree(peerPoint, signal),
    decrypt: (ciphertext, signal) => token.decrypt(ciphertext, signal),
    sign: (message, signal) => witness.sign(message, signal),
  }
}
