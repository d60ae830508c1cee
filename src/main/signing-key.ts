import type { Entropy } from '../base/environment.ts'
import { readBounded, writeDurably } from '../base/files.ts'
import { Secret } from '../base/secret.ts'
import { ed25519PublicKeyOf, generateEd25519, signEd25519 } from '../crypto/signing.ts'
import type { Signer } from '../ledger/signing.ts'

/* A process's own Ed25519 key of the ledger: PKCS#8 in a private file. dom0's signs the ledger's checkpoints and its drill reports,
   a witness's nothing but cosignatures. */

const keyFileBytesMax = 1024

/** `null`: there is no such file. Throws `KEY_INVALID`. */
export async function readSigningKey(file: string): Promise<Signer | null> {
  const untrustedBytes = await readBounded(file, keyFileBytesMax)
  return untrustedBytes === null ? null : signerOf(untrustedBytes.parse(bytes => Secret.take(bytes)))
}

/** Durable when it resolves. Replaces what is there: look first. */
export async function makeSigningKey(file: string, entropy: Entropy): Promise<Signer> {
  const { privateKey } = generateEd25519(entropy)
  await privateKey.expose(bytes => writeDurably(file, bytes))
  return signerOf(privateKey)
}

function signerOf(key: Secret): Signer {
  return { publicKey: ed25519PublicKeyOf(key), sign: async message => signEd25519(key, message) }
}
