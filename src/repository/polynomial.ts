import type { Entropy } from '../base/environment.ts'

/*
 * Polynomials over GF(2), a bit a coefficient. We cut volumes at fixed offsets and never use one; but every reader
 * of the format refuses a repository whose `chunker_polynomial` is not irreducible, and a stock `restic backup` into
 * the same repository would cut by it, so it is drawn at random as restic does.
 */

export const polynomialDegree = 53
const polynomialBytes = 7
const lead = 1n << BigInt(polynomialDegree)
const belowLead = lead - 1n

/** The first irreducible one from a random start: of those with a constant term, one in 26 is. */
export function randomIrreducible(entropy: Entropy): bigint {
  let start = 0n
  for (const byte of entropy.bytes(polynomialBytes)) start = (start << 8n) | BigInt(byte)
  for (let step = 0n; ; step += 2n) {
    const candidate = ((start + step) & belowLead) | lead | 1n
    if (isIrreducible(candidate)) return candidate
  }
}

/** Ben-Or: irreducible of degree n when no x^(2^i) - x with i up to n/2 shares a factor with it. */
export function isIrreducible(polynomial: bigint): boolean {
  const degree = degreeOf(polynomial)
  if (degree < 1) return false
  const x = 2n
  let power = modulo(x, polynomial)
  for (let i = 1; i <= degree / 2; i++) {
    power = modulo(square(power), polynomial)
    if (greatestCommonDivisor(polynomial, power ^ modulo(x, polynomial)) !== 1n) return false
  }
  return true
}

/** -1 of zero. */
export function degreeOf(polynomial: bigint): number {
  return polynomial === 0n ? -1 : polynomial.toString(2).length - 1
}

function modulo(dividend: bigint, divisor: bigint): bigint {
  const degree = degreeOf(divisor)
  let rest = dividend
  for (let lead = degreeOf(rest); lead >= degree; lead = degreeOf(rest))
    rest ^= divisor << BigInt(lead - degree)
  return rest
}

/** Squaring over GF(2) spreads the bits: the mixed terms cancel. */
function square(polynomial: bigint): bigint {
  return BigInt(`0b${[...polynomial.toString(2)].join('0')}`)
}

function greatestCommonDivisor(a: bigint, b: bigint): bigint {
  let [larger, smaller] = [a, b]
  while (smaller !== 0n) [larger, smaller] = [smaller, modulo(larger, smaller)]
  return larger
}
