import { createHmac } from 'node:crypto'
import { combine } from 'shamir-secret-sharing'
import { equalConstantTime } from '../../base/bytes.ts'
import type { Entropy } from '../../base/environment.ts'

/*
 * The secret sharing of SLIP-0039: a polynomial over GF(256) for each byte of the secret. Its value at 255 is the secret, at
 * 254 a digest of it, at 0 to 15 the shares. The digest is what plain Shamir sharing lacks: without one, a share too few or a
 * damaged one gives another secret, silently.
 */

const [digestPlace, secretPlace] = [254, 255]
const digestLength = 4

/** A value of the polynomial. */
export interface Point {
  /** 0 to 15 for a share. */
  readonly x: number
  readonly value: Uint8Array
}

/** `count` shares of which any `threshold` make the secret. Where one is enough, there is one share, the secret itself. */
export async function splitSecret(
  secret: Uint8Array,
  { threshold, count }: { readonly threshold: number; readonly count: number },
  entropy: Entropy,
): Promise<readonly Point[]> {
  if (threshold === 1) return [{ x: 0, value: secret.slice() }]
  const shares = Array.from({ length: threshold - 2 }, (_, x) => ({
    x,
    value: entropy.bytes(secret.byteLength),
  }))
  const random = entropy.bytes(secret.byteLength - digestLength)
  const digest = new Uint8Array([...digestOf(random, secret), ...random])
  const base = [...shares, { x: digestPlace, value: digest }, { x: secretPlace, value: secret }]
  for (let x = shares.length; x < count; x++) shares.push({ x, value: await valueAt(x, base) })
  digest.fill(0)
  random.fill(0)
  return shares
}

/**
 * The secret, of `threshold` shares or more. `null` when they do not fit together: with a threshold of 2 or more the digest
 * says so, and each share beyond the threshold must lie on the polynomial of the others; with 1 that is to be the same.
 */
export async function joinSecret(points: readonly Point[], threshold: number): Promise<Uint8Array | null> {
  const [base, further] = [points.slice(0, threshold), points.slice(threshold)]
  const [first] = base
  if (first === undefined) return null
  if (threshold === 1)
    return further.every(({ value }) => equalConstantTime(value, first.value)) ? first.value.slice() : null
  for (const { x, value } of further) if (!equalConstantTime(await valueAt(x, base), value)) return null
  const secret = await valueAt(secretPlace, base)
  const digest = await valueAt(digestPlace, base)
  const fits = equalConstantTime(
    digest.subarray(0, digestLength),
    digestOf(digest.subarray(digestLength), secret),
  )
  digest.fill(0)
  if (fits) return secret
  secret.fill(0)
  return null
}

/**
 * The polynomial at `x`, which is not one of `points`. The library answers for 0 alone; in a field where adding is XOR, the
 * polynomial moved by `x` has there what this one has at `x`.
 */
async function valueAt(x: number, points: readonly Point[]): Promise<Uint8Array> {
  const moved = points.map(point => Uint8Array.of(...point.value, point.x ^ x))
  const value = await combine(moved)
  for (const bytes of moved) bytes.fill(0)
  return value
}

function digestOf(random: Uint8Array, secret: Uint8Array): Uint8Array {
  return new Uint8Array(createHmac('sha256', random).update(secret).digest().subarray(0, digestLength))
}
