import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto'
import { open } from 'node:fs/promises'
import path from 'node:path'
import { Decrypter, Encrypter } from 'age-encryption'
import { view } from '../base/bytes.ts'
import type { Entropy } from '../base/environment.ts'
import { CodedError, errnoOf, printable } from '../base/errors.ts'
import { syncDirectory } from '../base/files.ts'
import { Secret } from '../base/secret.ts'
import { generateEd25519 } from '../crypto/signing.ts'
import { lowerS } from './ecdsa.ts'
import { SealError } from './errors.ts'
import { reportingIo } from './io.ts'
import { type PublicKey, publicKeyOf } from './keys.ts'
import { passphraseIdentity, passphraseRecipient } from './passphrase-stanza.ts'
import type { SealSigner } from './signer.ts'

/*
 * Sealing keys in files of mode 0600: PKCS#8 PEM, in clear or within an age file under a passphrase (`age -d FILE` opens it).
 * What `openssl genpkey` makes is read too: Ed25519 and P-256, in clear or under a passphrase of its own.
 */

const keyFileBytesMax = 16 * 1024
const ageHeader = 'age-encryption.org/v1\n'
export const keyFileEnding = '.pem'
export const encryptedKeyFileEnding = '.pem.age'

export interface KeyFileSigner extends SealSigner {
  readonly publicKey: PublicKey
}

export interface KeyProtection {
  readonly passphrase: Secret
  /** log2 of scrypt's N; absent: as `age` has it. */
  readonly workFactor?: number
}

/** Makes a key and writes it to a new file. `protection` is `null` for a file in clear. Throws `SEAL_EXISTS`, `SEAL_IO`. */
export async function createKeyFile(
  file: string,
  protection: KeyProtection | null,
  entropy: Entropy,
): Promise<KeyFileSigner> {
  using generated = generateEd25519(entropy)
  const key = generated.privateKey.expose(der =>
    createPrivateKey({ key: view(der), format: 'der', type: 'pkcs8' }),
  )
  using pem = Secret.take(Buffer.from(key.export({ format: 'pem', type: 'pkcs8' })))
  const bytes = protection === null ? pem.expose(one => one.slice()) : await encrypted(pem, protection)
  try {
    await reportingIo(() => writeNew(file, bytes))
  } catch (cause) {
    if (cause instanceof SealError && errnoOf(cause.cause) === 'EEXIST')
      throw new SealError('SEAL_EXISTS', `${file} exists; a key is never overwritten`, {
        cause,
        hint: 'choose another name or directory, or move the file away',
      })
    throw cause
  } finally {
    bytes.fill(0)
  }
  return signerOf(key)
}

/**
 * `passphrase` is asked only of a file that has one. Throws `SEAL_KEY_FILE_OPEN` unless only the owner may read it,
 * `SEAL_KEY_PASSPHRASE_WRONG`, `SEAL_KEY_FILE_INVALID`, `SEAL_IO`.
 */
export async function readKeyFile(
  file: string,
  passphrase: (file: string) => Promise<Secret>,
): Promise<KeyFileSigner> {
  const key = await readPrivateKey(file, passphrase)
  if (isSealingKey(key)) return signerOf(key)
  throw new SealError('SEAL_KEY_FILE_INVALID', `${printable(file)} holds no Ed25519 or P-256 key`)
}

/** The same for a key of any kind. */
export async function readPrivateKey(
  file: string,
  passphrase: (file: string) => Promise<Secret>,
): Promise<KeyObject> {
  using found = Secret.take(await reportingIo(() => readPrivate(file)))
  const name = printable(file)
  if (!found.expose(isAge)) return await importKey(found, passphrase, name)
  using pem = await decrypted(found, await passphrase(name), name)
  return await importKey(pem, null, name)
}

function signerOf(key: KeyObject): KeyFileSigner {
  const own = publicKeyOf(createPublicKey(key))
  return {
    keyId: own.id,
    publicKey: own,
    sign: async (encoding, signal) => {
      signal.throwIfAborted()
      if (own.type === 'ed25519') return new Uint8Array(sign(null, encoding, key))
      return lowerS(new Uint8Array(sign('sha256', encoding, { key, dsaEncoding: 'ieee-p1363' })))
    },
  }
}

function isAge(bytes: Uint8Array): boolean {
  return view(bytes.subarray(0, ageHeader.length)).toString('latin1') === ageHeader
}

async function encrypted(pem: Secret, { passphrase, workFactor }: KeyProtection): Promise<Uint8Array> {
  const encrypter = new Encrypter()
  encrypter.addRecipient(passphraseRecipient(passphrase, workFactor))
  const plaintext = pem.expose(bytes => bytes.slice())
  try {
    return await encrypter.encrypt(plaintext)
  } finally {
    plaintext.fill(0)
  }
}

async function decrypted(file: Secret, passphrase: Secret, name: string): Promise<Secret> {
  const decrypter = new Decrypter()
  decrypter.addIdentity(passphraseIdentity(passphrase, name))
  try {
    return Secret.take(await decrypter.decrypt(file.expose(bytes => bytes.slice())))
  } catch (cause) {
    if (cause instanceof CodedError) throw cause
    // Without its cause: what a decoder says about a private key is not for logs.
    throw new SealError('SEAL_KEY_FILE_INVALID', `${name} is no age file, or was changed`)
  }
}

async function importKey(
  pem: Secret,
  passphrase: ((file: string) => Promise<Secret>) | null,
  name: string,
): Promise<KeyObject> {
  const isEncrypted = pem.expose(bytes => view(bytes).includes('BEGIN ENCRYPTED PRIVATE KEY'))
  const secret = isEncrypted && passphrase !== null ? await passphrase(name) : null
  try {
    return pem.expose(bytes =>
      secret === null
        ? createPrivateKey({ key: view(bytes), format: 'pem' })
        : secret.expose(typed =>
            createPrivateKey({ key: view(bytes), format: 'pem', passphrase: view(typed) }),
          ),
    )
  } catch {
    // Without its cause, as above.
    if (isEncrypted) throw new SealError('SEAL_KEY_PASSPHRASE_WRONG', `the passphrase does not open ${name}`)
  }
  throw new SealError('SEAL_KEY_FILE_INVALID', `${name} holds no private key in PKCS#8 PEM`)
}

function isSealingKey({ asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject): boolean {
  return type === 'ed25519' || (type === 'ec' && details?.namedCurve === 'prime256v1')
}

async function writeNew(file: string, bytes: Uint8Array): Promise<void> {
  const handle = await open(file, 'wx', 0o600)
  try {
    await handle.writeFile(bytes)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await syncDirectory(path.dirname(file))
}

async function readPrivate(file: string): Promise<Buffer> {
  const handle = await open(file, 'r')
  try {
    const status = await handle.stat()
    if (!status.isFile()) throw new SealError('SEAL_KEY_FILE_INVALID', `${file} is not a plain file`)
    if ((status.mode & 0o077) !== 0)
      throw new SealError(
        'SEAL_KEY_FILE_OPEN',
        `${file} has mode ${(status.mode & 0o777).toString(8)}; expected 600`,
      )
    if (status.size > keyFileBytesMax)
      throw new SealError(
        'SEAL_KEY_FILE_INVALID',
        `${file} has ${status.size} bytes; at most ${keyFileBytesMax} are read`,
      )
    const pem = Buffer.alloc(status.size)
    await handle.read(pem, 0, status.size, 0)
    return pem
  } finally {
    await handle.close()
  }
}
