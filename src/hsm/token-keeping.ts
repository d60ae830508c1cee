import { Buffer } from 'node:buffer'
import pkcs11 from 'pkcs11js'
import { returnValueOf } from './token-faults.ts'
import type { KeptKey } from './token-protocol.ts'
import type { TokenSession } from './token-session.ts'
import { sealKeyLabel, witnessKeyLabel } from './token-signing.ts'
import { wrappingKeyLabel } from './token-wrapping.ts'

/*
 * Whether private keys can leave the token. What a module says of a key is not always what it does: NSS gives a key out to
 * C_WrapKey whose CKA_EXTRACTABLE is false. So it is also tried, with a key that is forgotten with the session. That nothing came
 * out proves that these ways are closed, and not that there is no other.
 */

const CKM_AES_KEY_WRAP_PAD = 0x210a
const CKM_AES_KEY_WRAP_KWP = 0x210b
const aesKeyLength = 32
/** A private key in PKCS#8, RSA of 4096 bits among them, is shorter. */
const wrappedLengthMax = 8192

export function keptKeys(session: TokenSession): readonly KeptKey[] {
  return [wrappingKeyLabel, witnessKeyLabel, sealKeyLabel].flatMap(label => {
    const key = session.find(pkcs11.CKO_PRIVATE_KEY, label)
    return key === null
      ? []
      : [{ label, isProtected: isProtected(session, key), export: tryExport(session, key) }]
  })
}

/** As the token says of the key. */
function isProtected(session: TokenSession, key: Buffer): boolean {
  return (
    session.attribute(key, pkcs11.CKA_SENSITIVE)[0] === 1 &&
    session.attribute(key, pkcs11.CKA_EXTRACTABLE)[0] === 0
  )
}

function tryExport(session: TokenSession, key: Buffer): KeptKey['export'] {
  const known: readonly pkcs11.Mechanism[] = [
    { mechanism: CKM_AES_KEY_WRAP_PAD },
    { mechanism: CKM_AES_KEY_WRAP_KWP },
    { mechanism: pkcs11.CKM_AES_CBC_PAD, parameter: Buffer.alloc(16) },
  ]
  const mechanisms = known.filter(({ mechanism }) => session.can(mechanism))
  const wrapping = mechanisms.length === 0 ? null : keyToWrapWith(session)
  if (wrapping === null) return 'untried'
  try {
    return mechanisms.some(mechanism => isGivenOut(session, wrapping, key, mechanism)) ? 'given' : 'refused'
  } finally {
    session.destroy(wrapping)
  }
}

/** `null`: the token makes none. */
function keyToWrapWith(session: TokenSession): Buffer | null {
  return unlessRefused(() =>
    session.generateSecret(pkcs11.CKM_AES_KEY_GEN, [
      { type: pkcs11.CKA_TOKEN, value: false },
      { type: pkcs11.CKA_VALUE_LEN, value: aesKeyLength },
      { type: pkcs11.CKA_WRAP, value: true },
      { type: pkcs11.CKA_ENCRYPT, value: true },
    ]),
  )
}

function isGivenOut(
  session: TokenSession,
  wrapping: Buffer,
  key: Buffer,
  mechanism: pkcs11.Mechanism,
): boolean {
  const room = Buffer.alloc(wrappedLengthMax)
  return unlessRefused(() => session.wrap(wrapping, key, mechanism, room)) !== null
}

function unlessRefused<T>(work: () => T): T | null {
  try {
    return work()
  } catch (error) {
    if (returnValueOf(error) === null) throw error
    return null
  }
}
