import fc from 'fast-check'
import { expect, test } from 'vitest'
import { systemEntropy } from '../../src/base/environment.ts'
import {
  degreeOf,
  isIrreducible,
  polynomialDegree,
  randomIrreducible,
} from '../../src/repository/polynomial.ts'

test.each([
  ['of the design document', 0x25b468838dcb75n],
  ['of the test suite of restic/chunker', 0x3da3358b4dc173n],
  ['of AES', 0x11bn],
  ['of CRC-32 with its primitive polynomial', 0x104c11db7n],
  ['x', 2n],
  ['x + 1', 3n],
])('the polynomial %s is irreducible', (_, polynomial) => {
  expect(isIrreducible(polynomial)).toBe(true)
})

test('zero, one and products are not', () => {
  expect(isIrreducible(0n)).toBe(false)
  expect(isIrreducible(1n)).toBe(false)
  const factor = fc.bigInt({ min: 2n, max: 1n << 26n })
  fc.assert(fc.property(factor, factor, (a, b) => !isIrreducible(product(a, b))))
})

test('agrees with trial division below degree 9', () => {
  const divides = (a: bigint, b: bigint) => {
    let rest = b
    for (; degreeOf(rest) >= degreeOf(a); ) rest ^= a << BigInt(degreeOf(rest) - degreeOf(a))
    return rest === 0n
  }
  for (let polynomial = 2n; polynomial < 1n << 9n; polynomial++) {
    let prime = true
    for (let a = 2n; degreeOf(a) * 2 <= degreeOf(polynomial); a++) if (divides(a, polynomial)) prime = false
    expect(isIrreducible(polynomial)).toBe(prime)
  }
})

test('a random one has degree 53, and ends for any entropy', () => {
  const drawn = [systemEntropy, { bytes: (length: number) => new Uint8Array(length) }].map(randomIrreducible)
  for (const polynomial of drawn) {
    expect(degreeOf(polynomial)).toBe(polynomialDegree)
    expect(isIrreducible(polynomial)).toBe(true)
  }
})

function product(a: bigint, b: bigint): bigint {
  let result = 0n
  for (let shift = 0n; b >> shift > 0n; shift++) if ((b >> shift) & 1n) result ^= a << shift
  return result
}
