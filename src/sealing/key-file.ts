import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto'
import { open } from 'node:fs/promises'
import path from 'node:path'
import { view } from '../base/bytes.ts'
import type { Entropy } from '../base/environment.ts'
import { errnoOf } from '../base/errors.ts'
import { syncDirectory } from '../base/files.ts'
import type { Secret } from '../base/secret.ts'
import { generateEd25519 } from '../crypto/signing.ts'
import { SealError } from './errors.ts'
import { reportingIo } from './io.ts'
import { type PublicKey, publicKey } from './keys.ts'
import type { SealSigner } from './signer.ts'

/*
 * Ed25519 keys in PKCS#8 PEM files of mode 0600, in clear or under a passphrase (PBES2 with AES-256-CBC). `openssl
 * genpkey -algorithm ed25519 -aes-256-cbc` makes such files too. The key derivation of an encrypted file made here is
 * PBKDF2 with OpenSSL's 2048 rounds: choose a passphrase that needs no stretching, or convert the file with
 * `openssl pkcs8 -topk8 -scrypt`, which is read as well.
 */

const keyFileBytesMax = 16 * 1024
const cipher = 'aes-256-cbc'
const publicKeyLength = 32

export interface KeyFileSigner extends SealSigner {
  readonly publicKey: PublicKey
}

/** Makes a key and writes it to a new file. `passphrase` is `null` for a file in clear. Throws `SEAL_EXISTS`, `SEAL_IO`. */
export async function createKeyFile(
  file: string,
  passphrase: Secret | null,
  entropy: Entropy,
): Promise<KeyFileSigner> {
  using generated = generateEd25519(entropy)
  const key = generated.privateKey.expose(der =>
    createPrivateKey({ key: view(der), format: 'der', type: 'pkcs8' }),
  )
  const pem = Buffer.from(exportKey(key, passphrase))
  try {
    await reportingIo(() => writeNew(file, pem))
  } catch (cause) {
    if (cause instanceof SealError && errnoOf(cause.cause) === 'EEXIST')
      throw new SealError('SEAL_EXISTS', `${file} exists; a key is never overwritten`, { cause })
    throw cause
  } finally {
    pem.fill(0)
  }
  return signerOf(key)
}

/**
 * Throws `SEAL_KEY_FILE_OPEN` unless only the owner may read it, `SEAL_KEY_PASSPHRASE_WRONG`, `SEAL_KEY_FILE_INVALID`,
 * `SEAL_IO`.
 */
export async function readKeyFile(file: string, passphrase: Secret | null): Promise<KeyFileSigner> {
  const pem = await reportingIo(() => readPrivate(file))
  try {
    return signerOf(importKey(pem, passphrase, file))
  } finally {
    pem.fill(0)
  }
}

/** Whether a passphrase has to be asked for. */
export async function isKeyFileEncrypted(file: string): Promise<boolean> {
  const pem = await reportingIo(() => readPrivate(file))
  try {
    return pem.includes('BEGIN ENCRYPTED PRIVATE KEY')
  } finally {
    pem.fill(0)
  }
}

function signerOf(key: KeyObject): KeyFileSigner {
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' })
  const own = publicKey('ed25519', new Uint8Array(spki.subarray(-publicKeyLength)))
  return {
    keyId: own.id,
    publicKey: own,
    sign: async (encoding, signal) => {
      signal.throwIfAborted()
      return new Uint8Array(sign(null, encoding, key))
    },
  }
}

function exportKey(key: KeyObject, passphrase: Secret | null): string | Buffer {
  if (passphrase === null) return key.export({ format: 'pem', type: 'pkcs8' })
  return passphrase.expose(bytes =>
    key.export({ format: 'pem', type: 'pkcs8', cipher, passphrase: view(bytes) }),
  )
}

function importKey(pem: Buffer, passphrase: Secret | null, file: string): KeyObject {
  const encrypted = pem.includes('BEGIN ENCRYPTED PRIVATE KEY')
  if (encrypted && passphrase === null)
    throw new SealError('SEAL_KEY_PASSPHRASE_WRONG', `${file} is encrypted, and no passphrase was given`)
  try {
    const key =
      encrypted && passphrase !== null
        ? passphrase.expose(bytes => createPrivateKey({ key: pem, format: 'pem', passphrase: view(bytes) }))
        : createPrivateKey({ key: pem, format: 'pem' })
    if (key.asymmetricKeyType === 'ed25519') return key
  } catch {
    // Without its cause: what a decoder says about a private key is not for logs.
    if (encrypted) throw new SealError('SEAL_KEY_PASSPHRASE_WRONG', `the passphrase does not open ${file}`)
  }
  throw new SealError('SEAL_KEY_FILE_INVALID', `${file} holds no Ed25519 private key in PKCS#8 PEM`)
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
    const { mode, size } = await handle.stat()
    if ((mode & 0o077) !== 0)
      throw new SealError(
        'SEAL_KEY_FILE_OPEN',
        `${file} has mode ${(mode & 0o777).toString(8)}; expected 600`,
      )
    if (size > keyFileBytesMax)
      throw new SealError(
        'SEAL_KEY_FILE_INVALID',
        `${file} has ${size} bytes; at most ${keyFileBytesMax} are read`,
      )
    const pem = Buffer.alloc(size)
    await handle.read(pem, 0, size, 0)
    return pem
  } finally {
    await handle.close()
  }
}
