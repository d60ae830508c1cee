import { createCipheriv, randomBytes } from 'node:crypto'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { systemEntropy } from '../../src/base/environment.ts'
import { OffsetCipher } from '../../src/crypto/offset-cipher.ts'

const keyBytes = randomBytes(32)
const cipher = OffsetCipher.take(Uint8Array.from(keyBytes))

test('any part is as if all had been encrypted from the beginning', () => {
  const plain = randomBytes(4096)
  const whole = createCipheriv('aes-256-ctr', keyBytes, Buffer.alloc(16)).update(plain)
  fc.assert(
    fc.property(fc.nat(255), fc.nat(4096), (block, length) => {
      const part = plain.subarray(16 * block, 16 * block + length)
      const stored = cipher.apply(part, 16 * block)
      expect(stored.equals(whole.subarray(16 * block, 16 * block + length))).toBe(true)
      expect(cipher.apply(stored, 16 * block).equals(part)).toBe(true)
    }),
  )
})

test('counts on beyond 4 GiB blocks', () => {
  const counter = Buffer.from('0000000000000000000000ffffffffff', 'hex')
  const whole = createCipheriv('aes-256-ctr', keyBytes, counter).update(Buffer.alloc(32))
  expect(cipher.apply(Buffer.alloc(16), 0xffffffffff * 16)).toEqual(whole.subarray(0, 16))
  expect(cipher.apply(Buffer.alloc(16), 0x10000000000 * 16)).toEqual(whole.subarray(16))
})

test('begins at whole blocks only', () => {
  expect(() => cipher.apply(Buffer.alloc(16), 8)).toThrow(RangeError)
})

test('takes over its key, hands out a copy that is zeroed, and prints none of it', () => {
  const given = Uint8Array.from(keyBytes)
  const taken = OffsetCipher.take(given)
  expect(given).toEqual(new Uint8Array(32))
  let copy = new Uint8Array(0)
  taken.expose(bytes => {
    expect(Buffer.from(bytes)).toEqual(keyBytes)
    copy = bytes as Uint8Array<ArrayBuffer>
  })
  expect(Buffer.from(copy)).toEqual(Buffer.alloc(32))
  expect(inspect(taken, { depth: 9 })).not.toContain(keyBytes.toString('hex').slice(0, 8))
  expect(OffsetCipher.generate(systemEntropy).key.equals(taken.key)).toBe(false)
})
