import { diffieHellman, generateKeyPairSync } from 'node:crypto'
import { expect } from 'vitest'
import { p256PublicKey } from '../../src/crypto/signature.ts'
import type { TokenProcess } from '../../src/hsm/token-process.ts'
import { never } from './support.ts'

/** Another party's key, and its point. */
export function peer() {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  const point = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }).subarray(-65))
  return { privateKey, point }
}

/** That it has a key on P-256, and agrees by it on what OpenSSL computes. */
export async function expectWorking(token: TokenProcess) {
  const { wrapping } = await token.publicKeys(never)
  if (wrapping?.type !== 'p256') throw new Error('no key on P-256')
  const { privateKey, point } = peer()
  using shared = await token.agree(point, never)
  const expected = diffieHellman({ privateKey, publicKey: p256PublicKey(wrapping.point) })
  expect(shared.expose(bytes => Buffer.from(bytes).toString('hex'))).toBe(expected.toString('hex'))
}
