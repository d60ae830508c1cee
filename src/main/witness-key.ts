import path from 'node:path'
import type { Entropy } from '../base/environment.ts'
import { readBounded, writeDurably } from '../base/files.ts'
import { Secret } from '../base/secret.ts'
import { ed25519PublicKeyOf, generateEd25519, signEd25519 } from '../crypto/signing.ts'
import type { Signer } from '../ledger/signing.ts'

const keyFileBytesMax = 1024

/** The key by which the management VM witnesses the ledger; made at its first start. It signs nothing else. */
export async function witnessSigner(home: string, entropy: Entropy): Promise<Signer> {
  const file = path.join(home, 'witness-key.der')
  const untrustedBytes = await readBounded(file, keyFileBytesMax)
  const key = untrustedBytes?.parse(bytes => Secret.take(bytes)) ?? (await newKey(file, entropy))
  return { publicKey: ed25519PublicKeyOf(key), sign: async message => signEd25519(key, message) }
}

async function newKey(file: string, entropy: Entropy): Promise<Secret> {
  const { privateKey } = generateEd25519(entropy)
  await privateKey.expose(bytes => writeDurably(file, bytes))
  return privateKey
}
