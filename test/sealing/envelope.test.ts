import { execFileSync } from 'node:child_process'
import { generateKeyPairSync, sign } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fromUtf8, utf8 } from '../../src/base/bytes.ts'
import { CodedError } from '../../src/base/errors.ts'
import { encodeEnvelope, parseEnvelope, preAuthEncoding, verifyEnvelope } from '../../src/sealing/envelope.ts'
import { type PublicKey, publicKey } from '../../src/sealing/keys.ts'
import { codeOf } from '../support/code-of.ts'
import { signer, signText, temporaryDirectory } from './fixture.ts'

const payloadType = 'application/vnd.strongroom.role+json'
const alice = signer('alice')
const bob = signer('bob')
const expected = { what: 'test', payloadType, keys: [alice.publicKey, bob.publicKey], threshold: 1 }

describe('DSSE', () => {
  test('pre-authentication encoding, the example of the specification', () => {
    expect(fromUtf8(preAuthEncoding('http://example.com/HelloWorld', utf8('hello world')))).toBe(
      'DSSEv1 29 http://example.com/HelloWorld 11 hello world',
    )
  })

  test('counts bytes, not characters', () => {
    expect(fromUtf8(preAuthEncoding('t', utf8('é')))).toBe('DSSEv1 1 t 2 é')
  })

  test('encode and parse are inverse', () => {
    fc.assert(
      fc.property(
        fc.uint8Array(),
        fc.array(fc.uint8Array({ minLength: 64, maxLength: 64 }), { minLength: 1, maxLength: 8 }),
        (payload, list) => {
          const signatures = list.map(signature => ({ keyId: alice.publicKey.id, signature }))
          const envelope = { payloadType, payload, signatures }
          expect(parseEnvelope(encodeEnvelope(envelope), 'test')).toEqual(envelope)
        },
      ),
      { seed: 7 },
    )
  })

  test('any bytes give a value or a typed error', async () => {
    const honest = await signText(payloadType, '{}', [alice])
    fc.assert(
      fc.property(fc.nat(honest.byteLength - 1), fc.uint8Array({ maxLength: 4 }), (at, insert) => {
        const bytes = Buffer.concat([honest.subarray(0, at), insert, honest.subarray(at + 1)])
        try {
          parseEnvelope(bytes, 'test')
        } catch (error) {
          expect(error).toBeInstanceOf(CodedError)
        }
      }),
      { numRuns: 500, seed: 7 },
    )
  })

  test('openssl verifies our signature', async () => {
    await using directory = await temporaryDirectory()
    const bytes = await signText(payloadType, '{"v":1}', [alice])
    const envelope = JSON.parse(fromUtf8(bytes)) as {
      payload: string
      signatures: { keyid: string; sig: string }[]
    }
    const body = Buffer.from(envelope.payload, 'base64')
    await writeFile(directory.at('pae'), `DSSEv1 ${payloadType.length} ${payloadType} ${body.length} ${body}`)
    await writeFile(directory.at('sig'), Buffer.from(envelope.signatures[0]?.sig ?? '', 'base64'))
    await writeFile(directory.at('key.pem'), alice.publicKey.handle.export({ format: 'pem', type: 'spki' }))
    const openssl = (...args: string[]) => execFileSync('openssl', args, { encoding: 'utf8' })
    const files = [
      '-inkey',
      directory.at('key.pem'),
      '-in',
      directory.at('pae'),
      '-sigfile',
      directory.at('sig'),
    ]
    expect(openssl('pkeyutl', '-verify', '-rawin', '-pubin', ...files)).toContain('Verified Successfully')
    await writeFile(
      directory.at('der'),
      execFileSync('openssl', ['pkey', '-pubin', '-in', directory.at('key.pem'), '-outform', 'der']),
    )
    expect(openssl('dgst', '-sha256', '-r', directory.at('der'))).toContain(envelope.signatures[0]?.keyid)
  })
})

describe('verification', () => {
  test('gives the payload', async () => {
    const bytes = await signText(payloadType, '{"v":1}', [alice, bob])
    expect(fromUtf8(verifyEnvelope(bytes, { ...expected, threshold: 2 }))).toBe('{"v":1}')
  })

  test('counts keys by their material, whatever the ids say', async () => {
    const twin: PublicKey = { ...alice.publicKey, id: bob.publicKey.id }
    const bytes = await signText(payloadType, '{}', [alice, { ...alice, publicKey: twin }])
    const keys = [alice.publicKey, twin]
    expect(await codeOf(() => verifyEnvelope(bytes, { ...expected, keys, threshold: 2 }))).toBe(
      'SEAL_SIGNED_TWICE',
    )
  })

  test('a signature is no signature of another type', async () => {
    const bytes = await signText('application/vnd.strongroom.snapshot+json', '{}', [alice])
    expect(await codeOf(() => verifyEnvelope(bytes, expected))).toBe('SEAL_TYPE_WRONG')
    const relabelled = utf8(fromUtf8(bytes).replace('snapshot+json', 'role+json'))
    expect(await codeOf(() => verifyEnvelope(relabelled, expected))).toBe('SEAL_SIGNATURE_INVALID')
  })

  test('no signature at all is below every threshold', async () => {
    const bytes = encodeEnvelope({ payloadType, payload: utf8('{}'), signatures: [] })
    expect(await codeOf(() => verifyEnvelope(bytes, expected))).toBe('SEAL_THRESHOLD')
  })

  test('a key of small order verifies nothing', async () => {
    const identity = new Uint8Array(32)
    identity[0] = 1
    const weak = publicKey('ed25519', identity)
    const signature = new Uint8Array(64)
    signature[0] = 1
    const bytes = encodeEnvelope({
      payloadType,
      payload: utf8('{}'),
      signatures: [{ keyId: weak.id, signature }],
    })
    expect(await codeOf(() => verifyEnvelope(bytes, { ...expected, keys: [weak] }))).toBe(
      'SEAL_SIGNATURE_INVALID',
    )
  })
})

describe('ECDSA P-256', () => {
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
  const pair = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  const point = new Uint8Array(pair.publicKey.export({ format: 'der', type: 'spki' }).subarray(-65))
  const key = publicKey('ecdsa-p256', point)
  const payload = utf8('{"v":1}')
  const raw = sign('sha256', preAuthEncoding(payloadType, payload), {
    key: pair.privateKey,
    dsaEncoding: 'ieee-p1363',
  })
  const s = BigInt(`0x${raw.subarray(32).toString('hex')}`)
  const withS = (value: bigint) =>
    encodeEnvelope({
      payloadType,
      payload,
      signatures: [
        {
          keyId: key.id,
          signature: new Uint8Array(
            Buffer.concat([raw.subarray(0, 32), Buffer.from(value.toString(16).padStart(64, '0'), 'hex')]),
          ),
        },
      ],
    })
  const [low, high] = s <= order / 2n ? [s, order - s] : [order - s, s]

  test('verifies with the lower s', () => {
    expect(verifyEnvelope(withS(low), { ...expected, keys: [key] })).toEqual(payload)
  })

  test('the twin that anyone can make is refused', async () => {
    expect(await codeOf(() => verifyEnvelope(withS(high), { ...expected, keys: [key] }))).toBe(
      'SEAL_SIGNATURE_INVALID',
    )
  })

  test('a point beside the curve is no key', async () => {
    const beside = Uint8Array.from(point)
    beside[64] = (beside[64] ?? 0) ^ 1
    expect(await codeOf(() => publicKey('ecdsa-p256', beside))).toBe('SEAL_KEY_INVALID')
  })
})
