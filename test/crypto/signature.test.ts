import { generateKeyPairSync, sign } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { systemEntropy } from '../../src/base/environment.ts'
import { Secret } from '../../src/base/secret.ts'
import { Sha256, sha256, sha256Hex } from '../../src/crypto/digest.ts'
import {
  ed25519PublicKey,
  p256PublicKey,
  publicKeyFromSpki,
  verifyEcdsaP256,
  verifyEd25519,
  verifySignature,
} from '../../src/crypto/signature.ts'
import { ed25519PublicKeyOf, generateEd25519, signEd25519 } from '../../src/crypto/signing.ts'

const hex = (text: string) => new Uint8Array(Buffer.from(text, 'hex'))
const invalidKey = expect.objectContaining({ code: 'KEY_INVALID' })

/** RFC 8032 section 7.1. */
const rfc8032 = [
  {
    name: 'test 1',
    seed: '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
    publicKey: 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
    message: '',
    signature:
      'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
  },
  {
    name: 'test 3',
    seed: 'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
    publicKey: 'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
    message: 'af82',
    signature:
      '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
  },
]

describe.each(rfc8032)('Ed25519, RFC 8032 $name', vector => {
  const entropy = { bytes: () => hex(vector.seed) }

  test('makes the public key and the signature', () => {
    using key = generateEd25519(entropy)
    expect(key.publicKey).toEqual(hex(vector.publicKey))
    expect(signEd25519(key.privateKey, hex(vector.message))).toEqual(hex(vector.signature))
  })

  test('verifies it, and nothing else', () => {
    const [publicKey, message, signature] = [
      hex(vector.publicKey),
      hex(vector.message),
      hex(vector.signature),
    ]
    expect(verifyEd25519(publicKey, message, signature)).toBe(true)
    expect(verifyEd25519(publicKey, utf8('another message'), signature)).toBe(false)
    for (let at = 0; at < signature.byteLength; at++) {
      const changed = signature.slice()
      changed[at] = (changed[at] ?? 0) ^ 1
      expect(verifyEd25519(publicKey, message, changed)).toBe(false)
    }
    for (const length of [0, 63])
      expect(verifyEd25519(publicKey, message, signature.subarray(0, length))).toBe(false)
    expect(verifyEd25519(publicKey, message, new Uint8Array(65))).toBe(false)
  })
})

describe('keys', () => {
  test('a signature is of one key only', () => {
    using one = generateEd25519(systemEntropy)
    using two = generateEd25519(systemEntropy)
    const signature = signEd25519(one.privateKey, utf8('m'))
    expect(verifyEd25519(one.publicKey, utf8('m'), signature)).toBe(true)
    expect(verifyEd25519(two.publicKey, utf8('m'), signature)).toBe(false)
    expect(ed25519PublicKeyOf(two.privateKey)).toEqual(two.publicKey)
  })

  test('ECDSA P-256 as a token signs: r || s over SHA-256', () => {
    const pair = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
    const spki = pair.publicKey.export({ format: 'der', type: 'spki' })
    const point = new Uint8Array(spki.subarray(-65))
    const signature = sign('sha256', utf8('m'), { key: pair.privateKey, dsaEncoding: 'ieee-p1363' })
    expect(verifyEcdsaP256(point, utf8('m'), signature)).toBe(true)
    expect(verifySignature(publicKeyFromSpki(spki), utf8('m'), signature)).toBe(true)
    expect(verifyEcdsaP256(point, utf8('n'), signature)).toBe(false)
    expect(verifyEcdsaP256(point, utf8('m'), new Uint8Array(64))).toBe(false)
    expect(verifyEcdsaP256(point, utf8('m'), sign('sha256', utf8('m'), pair.privateKey))).toBe(false)
  })

  test('whatever is no key of these two kinds is refused', () => {
    const p384 = generateKeyPairSync('ec', { namedCurve: 'secp384r1' }).publicKey
    const x25519 = generateKeyPairSync('x25519')
    const offTheCurve = new Uint8Array(65).fill(1)
    offTheCurve[0] = 4
    expect(() => publicKeyFromSpki(p384.export({ format: 'der', type: 'spki' }))).toThrow(invalidKey)
    expect(() => publicKeyFromSpki(utf8('no key'))).toThrow(invalidKey)
    expect(() => ed25519PublicKey(new Uint8Array(31))).toThrow(invalidKey)
    expect(() => p256PublicKey(offTheCurve)).toThrow(invalidKey)
    expect(() => p256PublicKey(new Uint8Array(33))).toThrow(invalidKey)
    using garbage = Secret.take(utf8('not a private key'))
    expect(() => signEd25519(garbage, utf8('m'))).toThrow(invalidKey)
    using other = Secret.take(new Uint8Array(x25519.privateKey.export({ format: 'der', type: 'pkcs8' })))
    expect(() => signEd25519(other, utf8('m'))).toThrow(invalidKey)
  })
})

test('SHA-256, FIPS 180-4: at once, in hex and in parts', () => {
  const digest = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
  expect(sha256(utf8('abc'))).toEqual(hex(digest))
  expect(sha256Hex(utf8('abc'))).toBe(digest)
  expect(new Sha256().update(utf8('a')).update(utf8('bc')).finish()).toBe(digest)
})
