import path from 'node:path'
import type { Secret } from '../../base/secret.ts'
import { namesIn } from '../io.ts'
import { encryptedKeyFileEnding, keyFileEnding, readKeyFile } from '../key-file.ts'
import type { SealSigner } from '../signer.ts'
import type { SealWorkspace } from '../workspace.ts'

export interface KeysAtHand {
  /** Key files beside those of the workspace. */
  readonly keyFiles?: readonly string[]
  /** Tokens, for example. */
  readonly signers?: readonly SealSigner[]
  /** Asked once for each encrypted key file; the caller keeps and disposes what it returns. */
  readonly passphrase: (file: string) => Promise<Secret>
}

/** Signers of all keys at hand. A key file that was named is opened; one of the workspace that does not open is an error too. */
export async function openKeys(
  { keys }: SealWorkspace,
  { keyFiles = [], signers = [], passphrase }: KeysAtHand,
): Promise<readonly SealSigner[]> {
  const opened: SealSigner[] = [...signers]
  for (const file of [...(await keyFilesOf(keys)), ...keyFiles])
    opened.push(await readKeyFile(file, passphrase))
  return opened
}

/** The private keys in a directory; none when it is not there. */
export async function keyFilesOf(directory: string): Promise<readonly string[]> {
  return (await namesIn(directory))
    .filter(name => name.endsWith(keyFileEnding) || name.endsWith(encryptedKeyFileEnding))
    .map(name => path.join(directory, name))
}
