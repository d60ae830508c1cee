import { fromBase64, fromUtf8, toBase64, utf8 } from '../base/bytes.ts'
import type { Environment } from '../base/environment.ts'
import { fields, is, parseJson } from '../base/json.ts'
import type { Secret } from '../base/secret.ts'
import { RepositoryKey, repositoryKeyLength } from '../crypto/aead.ts'
import { CryptoError } from '../crypto/errors.ts'
import { type ScryptCost, scryptKey } from '../crypto/kdf.ts'
import { RepositoryError } from './errors.ts'
import { keyFileBytesMax, neutralName } from './format.ts'
import { knownFields, parseFormat } from './shape.ts'

/*
 * `keys/<id>`: plain JSON that turns a passphrase into the master key. It is the one object that the storage can
 * read: user and host names are constants.
 */

/** A passphrase has 256 random bits, so the cost only has to satisfy stock readers. */
const cost: ScryptCost = { N: 32768, r: 8, p: 1 }
const saltLength = 64

/** Where the three keys lie in the 64 bytes. */
const encryptEnd = 32
const macKEnd = 48

export async function createKeyFile(
  master: RepositoryKey,
  passphrase: Secret,
  { clock, entropy }: Environment,
): Promise<Uint8Array> {
  const salt = entropy.bytes(saltLength)
  using userKey = await deriveUserKey(passphrase, salt, cost)
  const plaintext = master.expose(encodeMasterKey)
  const data = userKey.seal(plaintext, entropy)
  plaintext.fill(0)
  return utf8(
    JSON.stringify({
      created: clock.now().toISOString(),
      username: neutralName,
      hostname: neutralName,
      kdf: 'scrypt',
      ...cost,
      salt: toBase64(salt),
      data: toBase64(data),
    }),
  )
}

/** Throws `REPOSITORY_PASSPHRASE`, `REPOSITORY_FORMAT`, and `KDF_LIMIT` before anything is paid. */
export async function openKeyFile(untrustedBytes: Uint8Array, passphrase: Secret): Promise<RepositoryKey> {
  const file = parseKeyFile(untrustedBytes)
  using userKey = await deriveUserKey(passphrase, file.salt, file)
  const plaintext = openMasterKey(userKey, file.data)
  try {
    return parseMasterKey(plaintext)
  } finally {
    plaintext.fill(0)
  }
}

const cost32 = is.integer(1, 0xffffffff)
const keyFileShape = knownFields('key file', {
  kdf: is.literal('scrypt'),
  N: cost32,
  r: cost32,
  p: cost32,
  salt: is.string(200),
  data: is.string(4096),
})

function parseKeyFile(untrustedBytes: Uint8Array): ScryptCost & { salt: Uint8Array; data: Uint8Array } {
  return parseFormat('the key file', () => {
    const { N, r, p, salt, data } = keyFileShape(parseJson(untrustedBytes, { bytesMax: keyFileBytesMax }))
    const saltBytes = fromBase64(salt)
    if (saltBytes.byteLength !== saltLength)
      throw new RepositoryError(
        'REPOSITORY_FORMAT',
        `the key file has a salt of ${saltBytes.byteLength} bytes; expected ${saltLength}`,
      )
    return { N, r, p, salt: saltBytes, data: fromBase64(data) }
  })
}

async function deriveUserKey(
  passphrase: Secret,
  salt: Uint8Array,
  { N, r, p }: ScryptCost,
): Promise<RepositoryKey> {
  using derived = await scryptKey(passphrase, salt, { N, r, p }, repositoryKeyLength)
  return derived.expose(bytes => new RepositoryKey(bytes))
}

function openMasterKey(userKey: RepositoryKey, data: Uint8Array): Uint8Array {
  try {
    return userKey.open(data)
  } catch (cause) {
    if (!(cause instanceof CryptoError)) throw cause
    throw new RepositoryError('REPOSITORY_PASSPHRASE', 'the passphrase does not open the key file', { cause })
  }
}

function encodeMasterKey(bytes: Uint8Array): Uint8Array {
  return utf8(
    JSON.stringify({
      mac: { k: toBase64(bytes.subarray(encryptEnd, macKEnd)), r: toBase64(bytes.subarray(macKEnd)) },
      encrypt: toBase64(bytes.subarray(0, encryptEnd)),
    }),
  )
}

const masterKeyShape = knownFields('master key', {
  mac: fields('mac', { k: is.string(24), r: is.string(24) }),
  encrypt: is.string(44),
})

function parseMasterKey(plaintext: Uint8Array): RepositoryKey {
  return parseFormat('the master key', () => {
    // Not `parseJson`, whose errors may quote what they found.
    const { mac, encrypt } = masterKeyShape(parseSecretJson(plaintext))
    const parts = [encrypt, mac.k, mac.r].map(fromBase64)
    const lengths = [encryptEnd, macKEnd - encryptEnd, repositoryKeyLength - macKEnd]
    if (parts.some((part, index) => part.byteLength !== lengths[index]))
      throw new RepositoryError('REPOSITORY_FORMAT', 'the master key has keys of a wrong length')
    const bytes = new Uint8Array(Buffer.concat(parts))
    for (const part of parts) part.fill(0)
    return new RepositoryKey(bytes)
  })
}

function parseSecretJson(plaintext: Uint8Array): unknown {
  try {
    return JSON.parse(fromUtf8(plaintext))
  } catch {
    throw new RepositoryError('REPOSITORY_FORMAT', 'the master key is not JSON')
  }
}
