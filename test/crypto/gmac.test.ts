import { createSecretKey, randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { gmac, gmacKeyLength, gmacLength } from '../../src/crypto/gmac.ts'

describe('GMAC', () => {
  test('is AES-256-GCM of nothing, with the message beside it', () => {
    // Test case 13 of "The Galois/Counter Mode of Operation (GCM)", McGrew and Viega.
    const zero = createSecretKey(Buffer.alloc(gmacKeyLength))
    expect(Buffer.from(gmac(zero, new Uint8Array(0))).toString('hex')).toBe(
      '530f8afbc74536b9a963b4f1c4cb738b',
    )
  })

  test('is the same for the same message and key, and another for any other', () => {
    const [one, other] = [randomBytes(gmacKeyLength), randomBytes(gmacKeyLength)].map(key =>
      createSecretKey(key),
    )
    if (one === undefined || other === undefined) throw new Error('no keys')
    const message = randomBytes(100_000)
    const tag = gmac(one, message)
    expect(tag).toHaveLength(gmacLength)
    expect(gmac(one, Uint8Array.from(message))).toEqual(tag)
    expect(gmac(other, message)).not.toEqual(tag)
    for (const at of [0, 50_000, 99_999])
      expect(gmac(one, message.with(at, (message[at] ?? 0) ^ 1))).not.toEqual(tag)
    expect(gmac(one, message.subarray(1))).not.toEqual(tag)
  })
})
