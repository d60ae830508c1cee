import path from 'node:path'
import type { Entropy } from '../../base/environment.ts'
import { makePrivateDirectory } from '../../base/files.ts'
import type { Digest } from '../../base/names.ts'
import { SealError } from '../errors.ts'
import { reportingIo } from '../io.ts'
import { createKeyFile, encryptedKeyFileEnding, type KeyProtection, keyFileEnding } from '../key-file.ts'
import type { PublicKey } from '../keys.ts'
import { publicKeyFileEnding, writePublicKey } from '../public-key-file.ts'
import type { SealReport } from '../show.ts'
import { sealWorkspace } from '../workspace.ts'

export interface KeyReport {
  readonly id: Digest
  /** `null`: the key is in a token. */
  readonly file: string | null
  readonly publicFile: string
}

export interface KeyOptions {
  readonly directory: string
  /** Of the files: `alice`. */
  readonly name: string
}

/** `strongroom seal key`: makes a key for its holder, and a file to send to whoever makes the root. */
export async function keyCommand(
  options: KeyOptions & { readonly protection: KeyProtection | null; readonly entropy: Entropy },
): Promise<SealReport<KeyReport>> {
  const { protection, entropy } = options
  const place = keyPlace(options)
  const file = `${place}${protection === null ? keyFileEnding : encryptedKeyFileEnding}`
  await reportingIo(() => makePrivateDirectory(path.dirname(place)))
  const { publicKey } = await createKeyFile(file, protection, entropy)
  return await published(place, publicKey, file)
}

/** The same for a key that is in a token already. */
export async function tokenKeyCommand(
  options: KeyOptions & { readonly publicKey: PublicKey },
): Promise<SealReport<KeyReport>> {
  const place = keyPlace(options)
  await reportingIo(() => makePrivateDirectory(path.dirname(place)))
  return await published(place, options.publicKey, null)
}

function keyPlace({ directory, name }: KeyOptions): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(name))
    throw new SealError('SEAL_KEY_FILE_INVALID', 'the name of a key has letters, digits, dots and dashes', {
      hint: 'its directory is --dir',
    })
  return path.join(sealWorkspace(directory).keys, name)
}

async function published(
  place: string,
  publicKey: PublicKey,
  file: string | null,
): Promise<SealReport<KeyReport>> {
  const publicFile = `${place}${publicKeyFileEnding}`
  await writePublicKey(publicFile, publicKey)
  return {
    result: { id: publicKey.id, file, publicFile },
    text: [
      `key       ${publicKey.id}${file === null ? ' in the token' : ` in ${file}`}`,
      `public    ${publicFile}: for whoever makes the root; tell its first sixteen digits by voice`,
      'next      strongroom seal init --holder ROLE=FILE, or rotate-root --add ROLE=FILE, on the machine that makes the root',
    ],
  }
}
