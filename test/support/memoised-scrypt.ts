import { Secret } from '../../src/base/secret.ts'
import { sha256Hex } from '../../src/crypto/digest.ts'
import type * as kdf from '../../src/crypto/kdf.ts'

/** The real scrypt, computed once for the same question: `vi.mock(kdf, original => memoisedScrypt(original))`. */
export async function memoisedScrypt(original: () => Promise<unknown>): Promise<typeof kdf> {
  const real = (await original()) as typeof kdf
  const known = new Map<string, Uint8Array>()
  return {
    ...real,
    async scryptKey(passphrase, salt, cost, length) {
      const question = passphrase.expose(bytes =>
        sha256Hex(Buffer.concat([bytes, salt, Buffer.from(JSON.stringify([cost, length]))])),
      )
      const answer =
        known.get(question) ??
        (await real.scryptKey(passphrase, salt, cost, length)).expose(bytes => Uint8Array.from(bytes))
      known.set(question, answer)
      return Secret.take(Uint8Array.from(answer))
    },
  }
}
