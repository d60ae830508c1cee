import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { systemEntropy } from '../../src/base/environment.ts'
import { RepositoryKey, repositoryKeyLength, sealedOverheadBytes } from '../../src/crypto/aead.ts'
import { poly1305 } from '../../src/crypto/poly1305.ts'
import { codeOfNow } from '../support/code-of.ts'

interface Vector {
  readonly name: string
  readonly message: string
  readonly r: string
  readonly k: string
  readonly nonce: string
  readonly s: string
  readonly tag: string
}
const vectors = JSON.parse(
  readFileSync(new URL('../vectors/restic/poly1305-aes.json', import.meta.url), 'utf8'),
) as readonly Vector[]

const hex = (...parts: readonly string[]) => new Uint8Array(Buffer.from(parts.join(''), 'hex'))
const encrypt = 'ab'.repeat(32)

describe.each(vectors)('Poly1305-AES, appendix B: $name', vector => {
  test('the tag of the one-time key', () => {
    expect(Buffer.from(poly1305(hex(vector.r, vector.s), hex(vector.message))).toString('hex')).toBe(
      vector.tag,
    )
  })

  test('a sealed object with this tag opens, and with any other does not', () => {
    using key = new RepositoryKey(hex(encrypt, vector.k, vector.r))
    const sealed = hex(vector.nonce, vector.message, vector.tag)
    expect(key.open(sealed)).toHaveLength(vector.message.length / 2)
    sealed[sealed.byteLength - 1] = (sealed.at(-1) ?? 0) ^ 1
    expect(codeOfNow(() => key.open(sealed))).toBe('MAC_WRONG')
  })
})

describe('a repository key', () => {
  test('opens what it sealed, of any length', () => {
    using key = RepositoryKey.generate(systemEntropy)
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 5000 }), plaintext => {
        const sealed = key.seal(plaintext, systemEntropy)
        expect(sealed.byteLength).toBe(plaintext.byteLength + sealedOverheadBytes)
        expect(Buffer.compare(key.open(sealed), plaintext)).toBe(0)
      }),
      { numRuns: 200 },
    )
  })

  test('a long message has the tag of its parts', () => {
    const message = new Uint8Array(3 * 1024 * 1024 + 5).fill(7)
    using key = RepositoryKey.generate(systemEntropy)
    expect(Buffer.compare(key.open(key.seal(message, systemEntropy)), message)).toBe(0)
    const oneTimeKey = systemEntropy.bytes(32)
    expect(Buffer.compare(poly1305(oneTimeKey, message), slowPoly1305(oneTimeKey, message))).toBe(0)
  })

  test('no flipped bit, no truncation and no other key goes unnoticed', () => {
    using key = RepositoryKey.generate(systemEntropy)
    using other = RepositoryKey.generate(systemEntropy)
    const sealed = key.seal(new Uint8Array(100).fill(3), systemEntropy)
    for (let at = 0; at < sealed.byteLength; at++) {
      const changed = sealed.slice()
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8))
      expect(codeOfNow(() => key.open(changed))).toBe('MAC_WRONG')
      expect(codeOfNow(() => key.open(sealed.subarray(0, at)))).toBe(
        at < sealedOverheadBytes ? 'SEALED_TOO_SHORT' : 'MAC_WRONG',
      )
    }
    expect(codeOfNow(() => other.open(sealed))).toBe('MAC_WRONG')
  })

  test('masks r, so that a key file with and without masked bits is the same key', () => {
    using loose = new RepositoryKey(new Uint8Array(repositoryKeyLength).fill(0xff))
    const r = loose.expose(bytes => Buffer.from(bytes.subarray(48)).toString('hex'))
    expect(r).toBe('ffffff0ffcffff0ffcffff0ffcffff0f')
    using masked = new RepositoryKey(loose.expose(bytes => bytes.slice()))
    expect(masked.open(loose.seal(new Uint8Array(9), systemEntropy))).toHaveLength(9)
  })

  test('is gone after its end, and prints nothing', () => {
    const bytes = systemEntropy.bytes(repositoryKeyLength)
    const key = new RepositoryKey(bytes)
    expect(bytes.every(byte => byte === 0)).toBe(true)
    expect(JSON.stringify(key)).toBe('{}')
    const sealed = key.seal(new Uint8Array(4), systemEntropy)
    key[Symbol.dispose]()
    expect(() => key.open(sealed)).toThrow('zeroed')
    expect(codeOfNow(() => new RepositoryKey(new Uint8Array(63)))).toBe('KEY_INVALID')
  })
})

/** RFC 8439 section 2.5.1 with big integers: slow, and plainly right. */
function slowPoly1305(key: Uint8Array, message: Uint8Array): Uint8Array {
  const number = (bytes: Uint8Array) => BigInt(`0x${Buffer.from(bytes).reverse().toString('hex') || '0'}`)
  const prime = (1n << 130n) - 5n
  const r = number(key.subarray(0, 16)) & 0x0ffffffc0ffffffc0ffffffc0fffffffn
  let sum = 0n
  for (let at = 0; at < message.byteLength; at += 16) {
    const block = message.subarray(at, at + 16)
    sum = ((sum + number(block) + (1n << BigInt(8 * block.byteLength))) * r) % prime
  }
  const tag = (sum + number(key.subarray(16))) & ((1n << 128n) - 1n)
  return new Uint8Array(Buffer.from(tag.toString(16).padStart(32, '0'), 'hex').reverse())
}
